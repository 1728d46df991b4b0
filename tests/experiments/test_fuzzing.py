"""For every content of a file, the answer is a result or one message with exit code 2, never a traceback."""

import copy
import io
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lcnn_flow as lf
from experiments.cli import main
from experiments.errors import UserError
from experiments.planning.loading import load
from experiments.planning.plan import plan_of

ROOT = Path(__file__).parents[2]
GOOD = {file.name: tomllib.loads(file.read_text()) for file in sorted((ROOT / "configs").glob("*.toml"))}


def cases(count):
    """Settings for this number of cases, without a limit on their time."""
    calm = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(deadline=None, max_examples=count, suppress_health_check=calm)


printable = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
words = st.sampled_from(
    [
        "square",
        "lp",
        "white",
        "planted",
        "synthetic",
        "file",
        "filter",
        "gaussian",
        "convergence",
        "tuning",
        "zip",
        "",
        "é\n",
        "../../etc",
    ]
)
numbers = st.one_of(
    st.integers(-3, 5),
    st.sampled_from([10**6, 10**9, 10**18, -(10**18)]),
    st.floats(),
    st.sampled_from([1e308, 5e-324, -0.0, 1e-300]),
    st.booleans(),
)
values = st.recursive(
    st.one_of(words, numbers), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3)
)


def places(table, prefix=()):
    """Paths of all keys and entries of nested tables and lists."""
    entries = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    for key, value in entries:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


def loaded(file):
    """The sweep of a configuration; None if it is refused with a message."""
    try:
        return load(file)
    except UserError as error:
        if not str(error):
            raise
        return None


def read(file):
    """The data set in a file; None if it is refused with a message that names it."""
    try:
        return lf.data.load(file)
    except lf.DataError as error:
        if file.name not in str(error):
            raise
        return None


@st.composite
def mutated(draw):
    """A good configuration with a few keys removed, renamed, copied elsewhere, or with other values."""
    table = copy.deepcopy(GOOD[draw(st.sampled_from(sorted(GOOD)))])
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(table))
        if not known:
            break
        path = draw(st.sampled_from(known))
        here = table
        for key in path[:-1]:
            here = here[key]
        match draw(st.sampled_from(["value", "value", "remove", "rename", "graft"])):
            case "value":
                here[path[-1]] = draw(values)
            case "remove":
                del here[path[-1]]
            case "rename" if isinstance(here, dict):
                here[draw(words) or "x"] = here.pop(path[-1])
            case _:
                other = table
                for key in draw(st.sampled_from(known)):
                    other = other[key] if isinstance(other, dict) and key in other else other
                here[path[-1]] = copy.deepcopy(other)
    return table


@cases(800)
@given(mutated())
def test_a_mutated_configuration_is_a_sweep_or_a_list_of_faults(tmp_path, table):
    file = tmp_path / "mutated.toml"
    try:
        file.write_text(tomli_w.dumps(table))
    except (TypeError, ValueError, UnicodeEncodeError):
        return  # nothing that a file could hold
    sweep = loaded(file)
    if sweep is None:
        return
    again = tmp_path / "again.toml"
    again.write_text(sweep.toml())
    assert load(again) == sweep


@cases(500)
@given(st.data())
def test_bytes_that_are_changed_in_a_configuration_are_a_sweep_or_a_list_of_faults(tmp_path, data):
    content = bytearray((ROOT / "configs" / data.draw(st.sampled_from(sorted(GOOD)))).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=6))
    file = tmp_path / "changed.toml"
    file.write_bytes(content)
    loaded(file)


@cases(300)
@given(st.sampled_from(["--set", "--axis", "--zip"]), st.text(max_size=30), values)
def test_options_of_the_command_line_are_a_plan_or_a_message(configuration, capsys, option, text, value):
    shown = text if text else f"data.noise={value!r}"
    code = main(["validate", configuration, f"{option}={shown}"])
    captured = capsys.readouterr()
    assert code in (0, 2)
    assert (code == 2) == captured.err.startswith("error: ")
    assert "Traceback" not in captured.err


@pytest.fixture
def finished(configuration, tmp_path, made_up_cells, no_figures):
    """The directory of a run."""
    assert main(["run", configuration, "--out", str(tmp_path / "run"), "--no-cache"]) == 0
    return tmp_path / "run"


@cases(120)
@given(data=st.data())
def test_a_manifest_with_other_bytes_is_read_or_refused(finished, capsys, data):
    file = finished / "manifest.json"
    good = file.read_bytes()
    content = bytearray(good)
    match data.draw(st.sampled_from(["bytes", "json", "key"])):
        case "bytes":
            place = data.draw(st.integers(0, len(content)))
            content[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=6))
        case "json":
            content = json.dumps(data.draw(values)).encode()
        case _:
            manifest = json.loads(good)
            manifest[data.draw(st.sampled_from(sorted(manifest)))] = data.draw(values)
            content = json.dumps(manifest).encode()
    try:
        file.write_bytes(content)
        for command in (["status"], ["collect"]):
            code = main([*command, str(finished)])
            told = capsys.readouterr()
            assert code in (0, 2)
            assert (code == 2) == told.err.startswith("error: ")
            assert "Traceback" not in told.err
    finally:
        file.write_bytes(good)


def npz():
    """A data file of the user."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    np.savez(buffer, inputs=rng.normal(size=(5, 6)), targets=rng.normal(size=(5, 4)))
    return buffer.getvalue()


NPZ = npz()


@cases(600)
@given(data=st.data())
def test_a_changed_npz_file_is_refused_or_has_the_same_numbers(tmp_path, data):
    content = bytearray(NPZ)
    place = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "overwrite"])):
        case "flip":
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del content[place:]
        case _:
            new = data.draw(st.binary(min_size=1, max_size=16))
            content[place : place + len(new)] = new
    file = tmp_path / "mine.npz"
    file.write_bytes(content)
    found = read(file)
    if found is None:
        return
    with np.load(io.BytesIO(NPZ)) as good:
        assert np.array_equal(found.inputs, good["inputs"])
        assert np.array_equal(found.targets, good["targets"])


@cases(300)
@given(content=st.one_of(st.binary(max_size=200), printable.map(str.encode)))
@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz"])
def test_a_foreign_data_file_is_a_data_set_or_a_message(suffix, tmp_path, content):
    file = tmp_path / f"mine{suffix}"
    file.write_bytes(content)
    found = read(file)
    if found is None:
        return
    assert np.isfinite(found.inputs).all()
    assert np.isfinite(found.targets).all()


def test_every_good_configuration_makes_batches_of_all_its_flows():
    for name in GOOD:
        sweep = load(ROOT / "configs" / name)
        assert sum(batch.flows for batch in plan_of(sweep).batches) == len(sweep.cells) * sweep.configuration.seeds
