"""Counts, start sets and the linear algebra under the tracker."""

import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow.landscape import start_sets
from lcnn_flow.landscape.chart import choose_chart, newton, quadratic_form
from lcnn_flow.landscape.counts import generic_count
from lcnn_flow.landscape.elimination import solve
from lcnn_flow.landscape.monodromy import family_sums
from lcnn_flow.landscape.planes import Planes

COUNTS = {
    **{(2, 2): 6, (3, 2): 10, (3, 3): 39, (2, 2, 2): 34, (3, 2, 2): 100, (2, 2, 2, 2): 280},
    **{(4, 4): 284, (3, 3, 2): 435, (3, 2, 2, 2): 1090, (3, 3, 3): 2385, (5,): 1, (): 1},
}


@pytest.mark.parametrize(("sizes", "count"), COUNTS.items())
def test_generic_counts_are_the_published_ones(sizes, count):
    assert generic_count(sizes) == count


def test_critical_count_sees_sizes_and_overlap_but_not_order():
    count = lf.critical_count(lf.Architecture(32, (2, 1, 3), (2, 1, 1)))
    assert (count.number, count.family, count.singular_tuples) == (10, (3, 2), 2)
    assert lf.critical_count(lf.Architecture(32, (3, 2))).singular_tuples is None  # taps meet
    apart = {(2, 2): 2, (3, 2): 2, (3, 3): 3, (2, 2, 2): 6, (3, 2, 2): 8}
    for sizes, number in apart.items():  # a stride of k_l after every layer keeps all products of taps apart
        width = 1 + sum((k - 1) * int(np.prod(sizes[:layer])) for layer, k in enumerate(sizes))
        assert lf.critical_count(lf.Architecture(width, sizes, (*sizes[:-1], 1))).singular_tuples == number


def test_shipped_start_sets_are_complete():
    for family in start_sets.SHIPPED:
        assert start_sets.is_sound(family, start_sets.start_set(family)), family


def test_a_start_set_serves_every_order_of_layers():
    for sizes in ((2, 3), (2, 3, 2), (2, 2, 4), (3, 2, 3)):
        points, diagonal, load = start_sets.start_set(sizes)
        sums = family_sums(sizes)
        chart = choose_chart(sizes, points)
        before = chart.coordinates(points)
        form = quadratic_form(sums, diagonal, np.zeros((sums.width, sums.width)))
        after, length = newton(chart, form, load, before)
        assert np.max(length) < 1e-10
        assert np.allclose(before, after, rtol=1e-7, atol=1e-7)


def test_start_sets_made_on_demand_are_kept_and_damaged_ones_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(start_sets, "_FOLDER", tmp_path / "nothing")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "lcnn_flow" / "start_sets" / "2_2.npz"
    start_sets._of_family.cache_clear()
    try:
        made = start_sets.start_set((2, 2))
        assert start_sets.is_sound((2, 2), made)
        start_sets._of_family.cache_clear()
        monkeypatch.setattr(start_sets, "find_start_set", None)  # no second one is made
        assert np.array_equal(start_sets.start_set((2, 2)).points, made.points)
        monkeypatch.undo()
        monkeypatch.setattr(start_sets, "_FOLDER", tmp_path / "nothing")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        for damage in (file.read_bytes()[:300], b"none"):
            file.write_bytes(damage)
            start_sets._of_family.cache_clear()
            assert np.array_equal(start_sets.start_set((2, 2)).points, made.points)
        np.savez(file, points=made.points[:, :5], diagonal=made.diagonal, load=made.load)
        start_sets._of_family.cache_clear()
        assert start_sets.start_set((2, 2)).points.shape == (5, 6)
    finally:
        start_sets._of_family.cache_clear()


def test_elimination_solves_complex_systems_with_small_leading_entries():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(5, 5, 7)) + 1j * rng.normal(size=(5, 5, 7))
    matrix[0, 0] *= 1e-14
    matrix[1, :2] = matrix[0, :2]
    rhs = rng.normal(size=(5, 7)) + 1j * rng.normal(size=(5, 7))
    found = solve(Planes.of(np.concatenate([matrix, rhs[:, None]], 1)))
    expected = np.stack([np.linalg.solve(matrix[..., i], rhs[:, i]) for i in range(7)], 1)
    assert np.allclose(jnp.asarray(found.re), expected.real, rtol=1e-9, atol=1e-9)
    assert np.allclose(jnp.asarray(found.im), expected.imag, rtol=1e-9, atol=1e-9)
