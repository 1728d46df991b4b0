"""Faults of configurations: all at once, each with its path, the value, what is allowed, and a correction."""

import tomllib
from typing import get_args

import fakes
import pytest
from fakes import faults

import experiments.planning.checks
from experiments.errors import UserError
from experiments.planning.loading import load
from experiments.schema.losses import Loss
from lcnn_flow.losses import ALL_LOSSES


def test_all_faults_are_reported_at_once_with_their_paths(tmp_path):
    found = faults(
        tmp_path,
        fakes.CONFIGURATION.replace("seeds = 12", "seeds = 0\nsedes = 3")
        .replace("std = 0.5", "std = nan")
        .replace('"identification"', '"identificaton"')
        .replace("[3, 3, 3]", '[3, "3", 3]')
        .replace('"white"', '"wite"')
        .replace("stop = 1e4", "stop = 1e-4")
        .replace("p = 4", "p = 1"),
    )
    assert set(found) == {
        "seeds",
        "sedes",
        "initializer.std",
        "experiment.module",
        "network.kernel_sizes[1]",
        "data.inputs",
        "flow.times",
        "sweep.loss[1].p",
    }


def test_an_unknown_key_names_the_allowed_ones_and_the_likely_one(tmp_path):
    text = fakes.CONFIGURATION.replace("input_shape = 12", "input_shape = 12\nstride = 1")
    message = faults(tmp_path, text)["network.stride"]
    assert "allowed here: kind, input_shape, kernel_sizes, strides, channels" in message
    assert 'did you mean "strides"?' in message


def test_an_unknown_kind_names_the_allowed_ones_and_the_likely_one(tmp_path):
    message = faults(tmp_path, axes=['loss=[{kind="psuedo_huber", delta=1.0}]'])["sweep.loss[0]"]
    assert '"square", "lp", "pseudo_huber", "generalized_huber", "log_cosh"' in message
    assert 'did you mean "pseudo_huber"?' in message


def test_every_loss_of_the_library_has_its_kind_with_the_same_numbers():
    kinds = get_args(get_args(Loss)[0])
    known = {kind.model_fields["kind"].annotation.__args__[0]: kind for kind in kinds}
    assert set(known) == set(ALL_LOSSES)
    for name, kind in known.items():
        numbers = tuple(key for key in kind.model_fields if key != "kind")
        assert numbers == ALL_LOSSES[name].parameters, name


def test_losses_of_the_margin_need_labels_and_labels_no_noise(tmp_path):
    text = fakes.CONFIGURATION.replace("outliers = { fraction = 0.1, scale = 3.0 }", "").split("[sweep]")[0]
    text += '[sweep]\nloss = [{ kind = "logistic" }, { kind = "exponential" }]\n'
    message = faults(tmp_path, text)["loss.kind"]
    assert 'found "exponential", whose targets are -1 or 1, beside "planted"' in message
    assert 'write [data] with targets = { kind = "labels" }' in message
    labels = text.replace('{ kind = "planted", std = 0.6 }', '{ kind = "labels", flipped = 0.2 }')
    assert faults(tmp_path, labels) == {}
    assert "leave noise and outliers out" in faults(tmp_path, labels, ["data.noise=0.1"])["data"]
    source = labels.replace("flipped = 0.2", 'source = { kind = "filter", values = [1.0] }')
    assert faults(tmp_path, source)["data.targets.source.values"].startswith("1 numbers; the end-to-end filter has 7")


def test_keys_left_from_another_kind_are_said_to_be(tmp_path):
    text = fakes.CONFIGURATION.replace('kind = "synthetic"', 'kind = "file"\npath = "mine.csv"')
    found = faults(tmp_path, text)
    assert found["data.samples"] == (
        'this key belongs to kind = "synthetic" or kind = "deblurring", not to "file": remove it'
    )
    assert found["data.inputs"] == 'a table here belongs to kind = "synthetic", not to "file": remove it'
    assert set(found) == {"data.samples", "data.inputs", "data.targets", "data.outliers"}
    text = text.replace("samples = 8", 'samles = 8\nlabel = "mine"').replace(
        'inputs = { kind = "white" }', "inputs = 3"
    )
    found = faults(tmp_path, text)
    assert "unknown key; allowed here: kind, label, path" in found["data.samles"]
    assert found["data.inputs"] == "found 3; should be a valid string"


def test_other_names_of_the_same_thing_suggest_the_one_used_here(tmp_path):
    found = faults(
        tmp_path, fakes.CONFIGURATION.replace('kind = "gaussian"', 'kind = "normal"').replace('"lp"', '"l1"')
    )
    assert 'did you mean "gaussian"?' in found["initializer"]
    assert 'did you mean "lp"?' in found["sweep.loss[1]"]


def test_what_the_library_finds_is_told_together_with_all_other_faults(tmp_path):
    text = fakes.CONFIGURATION.replace("[3, 3, 3]", "[9, 9, 9]")
    found = faults(tmp_path, text.replace('"white"', '"wite"').replace("p = 4", "p = 1"))
    assert set(found) == {"network", "data.inputs", "sweep.loss[1].p"}
    assert "filter of size 9 on an input of size 4" in found["network"]
    assert set(faults(tmp_path, text.replace("std = 0.5", "std = nan"))) == {"network", "initializer.std"}
    assert set(faults(tmp_path, text.replace("input_shape = 12", "input_shape = 0"))) == {"network.input_shape"}


@pytest.mark.parametrize(
    ("override", "path", "shown"),
    [
        ("flow.rtol=-1", "flow.rtol", "found -1; should be greater than 0"),
        ("flow.rtol='1e-8'", "flow.rtol", 'found "1e-8"'),
        ("flow.rtol=1e-300", "flow.rtol", "float64 resolves no less than"),
        ("flow.gradient_rtol=1e-15", "flow.gradient_rtol", "float64 resolves no less than"),
        ("seeds=1.5", "seeds", "found 1.5"),
        ("seeds=true", "seeds", "found True"),
        ("seeds=1000000000000", "seeds", "less than or equal to 10000000"),
        ("data.noise=inf", "data.noise", "finite number"),
        ("initializer.std=nan", "initializer.std", "found nan"),
        ("data=3", "data", "a table is needed here"),
        ("initializer={kind='gaussian'}", "initializer.std", "missing"),
        ("network.kernel_sizes=[3, 30]", "network", "layer 2: filter of size 30"),
        (
            "data.targets={kind='cascade', filters=[[1.0]]}",
            "data.targets.filters",
            "the network has [3, 3, 3]",
        ),
        ("data.targets={kind='unrelated'}", "data.targets.kind", "needs a true filter"),
        (
            "data={kind='synthetic', inputs={kind='white'}, targets={kind='planted'}}",
            "data",
            "samples is missing",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_path_and_reason(tmp_path, override, path, shown):
    found = faults(tmp_path, overrides=[override])
    assert set(found) == {path}
    assert shown in found[path]


def test_runs_that_the_machine_cannot_hold_are_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments.planning.checks, "physical_memory", lambda: 2**34)
    assert "GiB for their results" in faults(tmp_path, overrides=["seeds=10000000"])["seeds"]
    assert "GiB" in faults(tmp_path, overrides=["data.samples=1000000000"])["data.samples"]
    many = faults(tmp_path, axes=[f"data.seed={list(range(1001))}", f"root_seed={list(range(100))}"])
    assert many == {"sweep": "the axes make 300300 cells; at most 100000 are allowed"}


@pytest.mark.parametrize(
    ("axis", "path", "shown"),
    [
        ("data.noise=[]", "sweep.data.noise", "list of values"),
        ("data.noise=0.1", "sweep.data.noise", "list of values"),
        ("data.noise=[0.1, 0.1]", "sweep.data.noise", "twice"),
        ("data.noise=[0.1, -0.1]", "sweep.data.noise[1]", "greater than or equal to 0"),
        ("flow.times=[{start=1.0, stop=2.0, count=3}]", "sweep.flow.times", "cannot be an axis"),
        ("seeds=[1, 2]", "sweep.seeds", "cannot be an axis"),
        ("flow=[{rtol=1e-6}]", "sweep.flow", "one for the whole run"),
        ("data.targets=[{kind='planted'}, {kind='unrelated'}]", "data.targets.kind", "needs a true filter"),
        ("data.nose=[0.1]", "sweep.data.nose[0]", 'did you mean "noise"?'),
    ],
)
def test_a_bad_axis_is_refused_where_it_was_written(tmp_path, axis, path, shown):
    found = faults(tmp_path, axes=[axis])
    assert set(found) == {path}
    assert shown in found[path]


def test_broken_toml_is_reported_with_line_and_column(tmp_path):
    file = tmp_path / "broken.toml"
    file.write_text("seeds = 3\nseeds == 4\n")
    with pytest.raises(UserError, match="line 2, column"):
        load(file)


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "quickstart.toml").write_text("")
    with pytest.raises(UserError, match=r'did you mean ".*quickstart.toml"'):
        load(tmp_path / "quikstart.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"seeds = " + b"9" * 5000, "digits"),
        (b"\xff\xfe", "not a text file"),
    ],
)
def test_a_file_that_no_parser_can_digest_is_refused_in_one_line(tmp_path, content, said):
    file = tmp_path / "hostile.toml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        load(file)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="null"):
        load("a\0b")


def test_a_byte_order_mark_is_no_fault(tmp_path):
    file = tmp_path / "some.toml"
    file.write_bytes(b"\xef\xbb\xbf" + fakes.CONFIGURATION.encode())
    assert len(load(file).cells) == 3


def test_two_dimensional_networks_are_planned_without_warnings(tmp_path):
    network = [
        "network.input_shape=[9, 9]",
        "network.kernel_sizes=[[3, 3], [2, 2]]",
        "network.strides=[[2, 2], [1, 1]]",
    ]
    assert faults(tmp_path, overrides=network) == {}


def test_an_axis_written_twice_or_inside_another_is_refused_and_not_lost(tmp_path):
    text = fakes.CONFIGURATION + '"initializer.std" = [0.1]\ninitializer.std = [0.2]\n'
    assert "twice" in faults(tmp_path, text)["sweep.initializer.std"]
    text = fakes.CONFIGURATION + '"initializer.std" = [0.1]\ninitializer = [{ kind = "gaussian", std = 1.0 }]\n'
    assert "inside the axis initializer" in faults(tmp_path, text)["sweep.initializer.std"]
    assert "twice" in faults(tmp_path, axes=["data.noise=[0.1]", "data.noise=[0.2]"])["sweep.data.noise"]
    inside = faults(tmp_path, axes=["data.outliers=[{fraction=0.1, scale=3.0}]", "data.outliers.scale=[1.0, 2.0]"])
    assert set(inside) == {"sweep.data.outliers.scale"}


def test_what_is_set_by_hand_replaces_axes_inside_of_it(tmp_path):
    text = fakes.CONFIGURATION + '"initializer.std" = [0.1, 0.2]\n'
    file = tmp_path / "some.toml"
    file.write_text(text)
    assert load(file, ["initializer={kind='balanced', std=1.0}"]).shape == (3,)
    assert load(file, [], ["initializer=[{kind='balanced', std=1.0}]"]).shape == (3, 1)


def test_what_is_set_inside_of_a_table_that_an_axis_replaces_is_refused(tmp_path):
    assert "every value of the axis loss" in faults(tmp_path, overrides=["loss.delta=0.3"])["loss.delta"]


def test_networks_too_deep_to_compile_are_refused(tmp_path):
    found = faults(tmp_path, overrides=[f"network.kernel_sizes={[1] * 3000}"])
    assert "at most 256" in found["network.kernel_sizes"]


@pytest.mark.parametrize(
    "override", ["rtol", "=3", "flow.=3", "flow.rtol=", "flow.rtol=[1", "flow.rtol=1 2", "seeds=3\nroot_seed=4"]
)
def test_a_malformed_override_is_refused(tmp_path, override):
    file = tmp_path / "some.toml"
    file.write_text(fakes.CONFIGURATION)
    with pytest.raises(UserError, match="--set"):
        load(file, [override])


def test_overrides_and_axes_change_the_configuration(tmp_path):
    file = tmp_path / "some.toml"
    file.write_text(fakes.CONFIGURATION)
    sweep = load(file, ["flow.rtol=1e-8", "seeds=3", "loss={kind='square'}"], ["initializer.std=[0.1, 1.0]"])
    assert sweep.configuration.flow.rtol == 1e-8
    assert sweep.configuration.seeds == 3
    assert [axis.path for axis in sweep.axes] == ["initializer.std"]
    assert [cell.configuration.initializer.model_dump()["std"] for cell in sweep.cells] == [0.1, 1.0]
    assert {cell.configuration.loss.kind for cell in sweep.cells} == {"square"}


def test_axes_multiply_and_only_shapes_and_kinds_make_compile_groups(tmp_path):
    file = tmp_path / "some.toml"
    file.write_text(fakes.CONFIGURATION)
    sweep = load(file, [], ["data.noise=[0.0, 0.1]", "initializer.std=[0.1, 0.5, 1.0]"])
    assert sweep.shape == (3, 2, 3)
    assert len(sweep.cells) == 18
    assert [len(group) for group in sweep.groups] == [6, 6, 6]
    deltas = load(file, [], ['loss=[{kind="pseudo_huber", delta=0.1}, {kind="pseudo_huber", delta=1.0}]'])
    assert [len(group) for group in deltas.groups] == [2]
    powers = load(file, [], ['loss=[{kind="lp", p=3}, {kind="lp", p=4}]'])
    assert [len(group) for group in powers.groups] == [1, 1]


def test_dotted_and_quoted_axes_are_the_same(tmp_path):
    base = fakes.CONFIGURATION.split("[sweep]")[0]
    base = base.replace("[initializer]", '[loss]\nkind = "square"\n[initializer]')
    sweeps = [
        fakes.sweep_of(tmp_path, f"{base}[sweep]\n{axis}")
        for axis in ('"initializer.std" = [0.1, 1.0]', "initializer.std = [0.1, 1.0]")
    ]
    assert sweeps[0] == sweeps[1]


def test_the_resolved_configuration_reads_back_as_the_same_sweep(tmp_path):
    sweep = fakes.sweep_of(tmp_path)
    again = tmp_path / "config.toml"
    again.write_text(sweep.toml())
    assert load(again) == sweep
    assert load(again).toml() == sweep.toml()
    assert tomllib.loads(sweep.toml())["sweep"]["loss"][1] == {"kind": "lp", "p": 4}


def test_a_data_file_is_found_from_the_directory_of_the_configuration(tmp_path):
    data = "data={kind='file', path='mine.npz'}"
    text = fakes.CONFIGURATION.replace("identification", "convergence")
    file = tmp_path / "some.toml"
    file.write_text(text)
    assert load(file, [data]).configuration.data.model_dump()["path"] == str(tmp_path / "mine.npz")


def test_axis_names_stay_apart_when_their_last_parts_are_equal(tmp_path):
    file = tmp_path / "some.toml"
    file.write_text(fakes.CONFIGURATION)
    sweep = load(file, [], ["data.targets.std=[0.5, 1.0]", "initializer.std=[0.1, 0.2]"])
    assert [axis.name for axis in sweep.axes] == ["loss", "data_targets_std", "initializer_std"]
