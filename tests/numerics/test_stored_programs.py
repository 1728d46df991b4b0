"""Traces kept on disk: used where everything they follow from is the same, and made anew where anything is not."""

import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow.limits import newton
from lcnn_flow.numerics import stored_programs
from lcnn_flow.numerics.stored_programs import StoredProgram

CALLS = []


def scaled(x, factor, extra=None):
    CALLS.append(factor)
    return {"y": factor * x if extra is None else factor * x + extra}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own, and functions of this file counted among the known ones."""
    before = jax.config.jax_compilation_cache_dir
    kept = dict(stored_programs._folder)
    monkeypatch.setattr(stored_programs, "_KNOWN", (*stored_programs._KNOWN, __name__.split(".")[0]))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    stored_programs.keep_programs_in(tmp_path)
    CALLS.clear()
    yield tmp_path
    stored_programs._folder.update(kept)
    jax.config.update("jax_compilation_cache_dir", before)


def fresh():
    """As in another process, which knows nothing yet."""
    return StoredProgram(scaled, jax.jit(scaled, static_argnums=1))


def test_a_second_process_loads_the_program_and_does_not_trace_it(folder):
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(fresh()(x, 2.0)["y"], [0, 2, 4])
    assert len(CALLS) == 1
    np.testing.assert_array_equal(fresh()(x, 2.0)["y"], [0, 2, 4])
    assert len(CALLS) == 1
    assert len(list(folder.glob("*.stablehlo"))) == 1


def test_other_values_shapes_types_and_places_of_arrays_are_other_programs(folder):
    x, program = jnp.arange(3.0), fresh()
    for arguments in ((x, 2.0), (x, 3.0), (x[:2], 2.0), (x.astype(jnp.float32), 2.0), (x, 2.0, x)):
        program(*arguments)
    assert len(CALLS) == 5
    assert len(list(folder.glob("*.stablehlo"))) == 5


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_a_damaged_program_is_made_anew(folder, damage):
    x = jnp.arange(3.0)
    fresh()(x, 2.0)
    (file,) = folder.glob("*.stablehlo")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    np.testing.assert_array_equal(fresh()(x, 2.0)["y"], [0, 2, 4])
    assert len(CALLS) == 2
    assert len(file.read_bytes()) == len(whole)


def test_changed_constants_of_the_library_and_settings_of_jax_are_other_programs(folder, monkeypatch):
    x = jnp.arange(3.0)
    fresh()(x, 2.0)
    monkeypatch.setattr(newton, "MOST_ITERATIONS", 13)
    fresh()(x, 2.0)
    with jax.default_matmul_precision("float32"):
        fresh()(x, 2.0)
    assert len(list(folder.glob("*.stablehlo"))) == 3


@pytest.mark.slow
def test_functions_of_users_are_never_kept(folder):
    def own(r):
        return r**2

    data = lf.Dataset(jnp.eye(3), jnp.array([[1.0], [3.0], [1.0]]))
    risk = lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Custom(own), data)
    lf.gradient_flow(risk, (jnp.array([1.3, 0.7]), jnp.array([0.7, 1.2])))
    lf.gradient_flow(lambda w: jnp.sum(w**2), jnp.ones(2))
    assert not list(folder.glob("run_flow*"))


def test_a_folder_that_cannot_be_written_is_said_and_does_not_matter(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert fresh()(jnp.arange(2.0), 2.0)["y"].tolist() == [0, 2]
