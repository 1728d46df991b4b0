"""Cells of a sweep start from the same filters and learn from the same data, so that they can be compared."""

import fakes
import numpy as np
import pytest

from experiments.computing.build import build_problem, initial_filters
from experiments.networks import architecture
from experiments.planning.loading import load


def start(sweep, number=0):
    """Initial filters of one cell, as numpy arrays."""
    configuration = sweep.cells[number].configuration
    return [
        np.asarray(w) for w in initial_filters(configuration, architecture(configuration), range(configuration.seeds))
    ]


@pytest.fixture
def file(tmp_path):
    """A configuration of three losses."""
    path = tmp_path / "made_up.toml"
    path.write_text(fakes.CONFIGURATION)
    return path


def test_all_losses_start_from_the_same_filters_and_learn_from_the_same_data(file):
    sweep = load(file)
    problems = [build_problem(cell.configuration)[1] for cell in sweep.cells]
    for number, data in enumerate(problems):
        assert np.array_equal(data.inputs, problems[0].inputs)
        assert np.array_equal(data.targets, problems[0].targets)
        assert all(map(np.array_equal, start(sweep, number), start(sweep)))


def test_more_seeds_leave_the_filters_of_the_first_ones_as_they_were(file):
    few, many = start(load(file, ["seeds=3"])), start(load(file, ["seeds=9"]))
    assert all(np.array_equal(a, b[:3]) for a, b in zip(few, many, strict=True))
    assert not np.array_equal(many[0][0], many[0][1])


def test_the_size_of_initial_filters_scales_the_same_draw(file):
    one, two = start(load(file, ["initializer.std=0.5"])), start(load(file, ["initializer.std=1.0"]))
    assert all(np.allclose(2 * a, b, rtol=1e-15) for a, b in zip(one, two, strict=True))


def test_seeds_and_data_have_random_keys_of_their_own(file):
    base, other = load(file), load(file, ["data.seed=5"])
    assert all(map(np.array_equal, start(base), start(other)))
    inputs = [np.asarray(build_problem(s.configuration)[1].inputs) for s in (base, other)]
    assert not np.array_equal(*inputs)
    rooted = load(file, ["root_seed=5"])
    assert not np.array_equal(start(base)[0], start(rooted)[0])


@pytest.mark.parametrize(
    ("override", "norms"),
    [
        ("initializer={kind='scaled', norms=[1.0, 2.0, 3.0]}", [1, 2, 3]),
        ("initializer={kind='orthogonal', gain=2.0}", [2, 2, 2]),
        ("initializer={kind='balanced', std=0.5}", [0.5 * np.sqrt(3)] * 3),
        ("initializer={kind='constant', filters=[[1.0,0,0],[0,2.0,0],[0,0,3.0]]}", [1, 2, 3]),
    ],
)
def test_every_kind_of_initialiser_gives_filters_of_its_norms(file, override, norms):
    for w, norm in zip(start(load(file, [override])), norms, strict=True):
        assert w.shape == (12, 3)
        assert np.allclose(np.linalg.norm(w, axis=1), norm, rtol=1e-12)
