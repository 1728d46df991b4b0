"""Data sets and their synthesis: validation, distributions, independence of the choices, purity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lcnn_flow import data
from lcnn_flow.data.corruption import add_noise
from lcnn_flow.errors import ArchitectureError, DataError, LcnnFlowError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.forward import apply, patches

KEY = jax.random.key(3)
PLAIN = Architecture(13, (3, 2, 2), (2, 1, 1))
IMAGE = Architecture((9, 8), ((3, 2), 2), ((2, 1), 1))
CHANNELS = Architecture(10, (3, 2), channels=(2, 3, 2))
ARCHITECTURES = {"1-D": PLAIN, "2-D": IMAGE, "channels": CHANNELS}
SOURCES = {
    "white": data.White(2.0),
    "autoregressive": data.Autoregressive(0.8),
    "low_rank": data.LowRank(3),
    "missing_patches": data.MissingPatches((1, 3)),
}


def filter_for(arch):
    size = int(np.prod(arch.end_to_end_filter_shape))
    return np.linspace(-1, 1, size).reshape(arch.end_to_end_filter_shape)


def filters_for(arch):
    return [np.cos(np.arange(np.prod(shape))).reshape(shape) for shape in arch.layer_shapes]


# Dataset


def test_dataset_is_a_pytree_and_converts_integers():
    samples = data.Dataset(np.arange(6).reshape(2, 3), [[1], [2]], weights=[1, 3])
    assert samples.num_samples == 2
    assert {leaf.dtype for leaf in jax.tree.leaves(samples)} == {jnp.result_type(float)}
    doubled = jax.tree.map(lambda x: 2 * x, samples)
    np.testing.assert_array_equal(doubled.targets, [[2], [4]])
    assert doubled.true_filter is None
    jax.tree.map(lambda x: None, samples)  # never validates
    assert repr(samples) == "Dataset(inputs=(2, 3), targets=(2, 1), weights=(2,))"


def test_dataset_keeps_float32_and_reads_foreign_byte_orders():
    x = np.ones((2, 3), ">f4")
    assert data.Dataset(x, x).inputs.dtype == jnp.float32
    np.testing.assert_array_equal(data.Dataset(np.full((1, 2), 1.5, np.longdouble), x[:1]).inputs, 1.5)


def test_replace_exchanges_fields_and_validates_again():
    samples = data.Dataset(np.ones((2, 3)), np.ones((2, 1)), weights=[1, 3])
    assert samples.replace(weights=None).weights is None
    np.testing.assert_array_equal(samples.replace(targets=np.zeros((2, 1))).weights, [1, 3])
    with pytest.raises(DataError, match="2 inputs but 3 targets"):
        samples.replace(targets=np.ones((3, 1)))
    with pytest.raises(DataError, match="no 'x'"):
        samples.replace(x=1)


def _with_gaps():
    x = np.ones((4, 3))
    x[2, 1] = np.nan
    x[3, 0] = np.inf
    return x


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((_with_gaps(), np.ones((4, 1))), r"inputs\[2, 1\] is nan, the first of 2 entries"),
        ((np.ones((4, 1)), _with_gaps()), r"targets\[2, 1\] is nan"),
        ((np.ones(4), np.ones((4, 1))), r"inputs\[None\]"),
        ((np.ones((3, 2)), np.ones((4, 1))), "3 inputs but 4 targets"),
        ((np.ones((0, 2)), np.ones((0, 1))), "at least one sample"),
        ((np.ones((2, 2)), np.ones((2, 1)), np.ones((2, 1))), r"pass shape \(2,\)"),
        ((np.ones((2, 2)), np.ones((2, 1)), [1, -1]), r"weights\[1\] is -1.0"),
        ((np.ones((2, 2)), np.ones((2, 1)), [0, 0]), "all weights are 0"),
        ((np.ones((2, 2)), np.ones((2, 1)), [1, np.nan]), r"weights\[1\] is nan"),
        ((np.ones((2, 2)), np.ones((2, 1)), None, [np.inf]), r"true_filter\[0\] is inf"),
        (([[1.0, 2.0], [3.0]], np.ones((2, 1))), "ragged"),
        ((np.array([["a", "b"]]), np.ones((1, 1))), "real numbers"),
        ((np.ones((1, 2), complex), np.ones((1, 1))), "real numbers"),
        ((jnp.ones((1, 2), complex), np.ones((1, 1))), "real numbers"),
        ((np.array([[None, {}]]), np.ones((1, 1))), "real numbers"),
    ],
)
def test_unusable_data_are_refused_with_the_place(arguments, text):
    with pytest.raises(DataError, match=text) as caught:
        data.Dataset(*arguments)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, LcnnFlowError)


def test_dataset_may_be_built_inside_jit_where_only_shapes_are_checked():
    @jax.jit
    def total(x):
        return data.Dataset(x, x, weights=x[:, 0]).inputs.sum()

    assert np.isnan(total(jnp.full((2, 2), jnp.nan)))
    with pytest.raises(DataError, match="inputs but"):
        jax.jit(lambda x: data.Dataset(x, x[:1]).inputs)(jnp.ones((2, 2)))


# inputs


@pytest.mark.parametrize("arch", ARCHITECTURES.values(), ids=ARCHITECTURES)
@pytest.mark.parametrize("name", SOURCES)
def test_inputs_have_the_shape_of_the_architecture_and_the_default_dtype(name, arch):
    x = jax.eval_shape(lambda key: SOURCES[name](key, arch, 5), KEY)
    assert x.shape == (5, *arch.sample_shape)
    assert x.dtype == jnp.result_type(float)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_inputs_drawn_under_vmap_are_those_of_single_keys(source):
    keys = jax.random.split(KEY, 2)
    batch = jax.jit(jax.vmap(lambda key: source(key, PLAIN, 5)))(keys)
    np.testing.assert_allclose(batch[1], source(keys[1], PLAIN, 5), rtol=1e-10, atol=1e-12)


def test_white_inputs_have_the_given_standard_deviation():
    x = data.White(3.0)(KEY, PLAIN, 4000).reshape(4000, -1)
    np.testing.assert_allclose(np.cov(np.asarray(x).T), 9 * np.eye(13), atol=9 * 0.09)


@pytest.mark.parametrize("rho", [0.9, -0.5, 0.0])
def test_autoregressive_signals_have_covariance_rho_to_the_distance(rho):
    x = np.asarray(data.Autoregressive(rho)(KEY, PLAIN, 20000))
    distance = np.abs(np.subtract.outer(np.arange(13), np.arange(13)))
    np.testing.assert_allclose(np.cov(x.T), float(rho) ** distance, atol=0.05)


def test_autoregressive_images_have_the_product_covariance():
    x = np.asarray(data.Autoregressive(0.7)(KEY, IMAGE, 20000))
    corner = np.mean(x[:, 2, 3][:, None, None] * x, axis=0)
    rows, columns = np.abs(np.arange(9) - 2), np.abs(np.arange(8) - 3)
    np.testing.assert_allclose(corner, np.multiply.outer(0.7**rows, 0.7**columns), atol=0.05)


@pytest.mark.parametrize("arch", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_low_rank_inputs_have_that_rank_and_unit_mean_square(arch):
    x = np.asarray(data.LowRank(3)(KEY, arch, 2000)).reshape(2000, -1)
    values = np.linalg.svd(x, compute_uv=False)
    assert values[2] > 1
    assert values[3] < 1e-10
    np.testing.assert_allclose(np.mean(x**2), 1, rtol=0.1)


@pytest.mark.parametrize("arch", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_anisotropic_inputs_have_exactly_the_given_ratio_of_second_moments(arch):
    size = int(np.prod(arch.sample_shape))
    x = np.asarray(data.Anisotropic(50.0)(KEY, arch, size + 3)).reshape(-1, size)
    moments = np.linalg.eigvalsh(x.T @ x / (size + 3))
    np.testing.assert_allclose(moments[-1] / moments[0], 50.0, rtol=1e-10)
    np.testing.assert_allclose(np.diff(np.log(moments)), np.log(50) / (size - 1), rtol=1e-9)
    np.testing.assert_allclose(np.mean(x**2), 1, rtol=1e-12)
    isotropic = np.asarray(data.Anisotropic(1.0)(KEY, arch, size)).reshape(-1, size)
    np.testing.assert_allclose(isotropic.T @ isotropic / size, np.eye(size), atol=1e-12)


def test_anisotropic_inputs_need_a_sample_per_entry_and_a_ratio_of_one_or_more():
    with pytest.raises(DataError, match="samples = 5 for inputs of 13 entries: use at least 13"):
        data.Anisotropic(2.0)(KEY, PLAIN, 5)
    with pytest.raises(DataError, match="Anisotropic: condition"):
        data.Anisotropic(0.5)


@pytest.mark.parametrize("arch", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_missing_patches_are_zero_columns_of_the_patch_matrix(arch):
    def zero_columns(taps):
        windows = np.asarray(patches(arch, data.MissingPatches(taps)(KEY, arch, 5)))
        return list(np.flatnonzero(np.all(windows == 0, axis=(0, 1))))

    assert zero_columns(3) == [3]
    assert {1, 3} <= set(zero_columns([1, 3]))


def test_windows_are_all_windows_in_order_at_the_step():
    signal = np.arange(20.0)
    got = data.Windows(signal, step=3)(KEY, PLAIN, None)
    expected = np.lib.stride_tricks.sliding_window_view(signal, 13)[::3]
    np.testing.assert_array_equal(got, expected)
    image = np.arange(12 * 11.0).reshape(12, 11)
    got = data.Windows(image, step=(1, 2))(KEY, IMAGE, None)
    expected = np.lib.stride_tricks.sliding_window_view(image, (9, 8))[::1, ::2].reshape(-1, 9, 8)
    np.testing.assert_array_equal(got, expected)


def test_windows_add_the_channel_axis_of_one_channel_and_need_it_for_more():
    one = Architecture(3, (2,), channels=(1, 2))
    two = Architecture(3, (2,), channels=(2, 1))
    signal = np.arange(5.0)
    assert data.Windows(signal)(KEY, one, None).shape == (3, 1, 3)
    assert data.Windows(signal[None])(KEY, one, None).shape == (3, 1, 3)
    got = data.Windows(np.stack([signal, -signal]))(KEY, two, None)
    np.testing.assert_array_equal(got[1], [[1, 2, 3], [-1, -2, -3]])
    with pytest.raises(DataError, match=r"shape \(5,\): this architecture needs \(2, length\)"):
        data.Windows(signal)(KEY, two, None)
    with pytest.raises(DataError, match=r"needs \(height, width\)"):
        data.Windows(signal)(KEY, IMAGE, None)


def test_fewer_windows_are_a_sorted_choice_without_replacement_by_key():
    source = data.Windows(np.arange(40.0))
    keys = jax.random.split(KEY, 20)
    firsts = np.asarray(jax.vmap(lambda key: source(key, PLAIN, 6))(keys))[:, :, 0]
    assert np.all(np.diff(firsts, axis=1) > 0)
    assert len(np.unique(firsts, axis=0)) > 15
    with pytest.raises(DataError, match="29 samples wanted but the signal has 28 windows"):
        source(KEY, PLAIN, 29)
    assert source(KEY, PLAIN, 28).shape == (28, 13)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_only_windows_may_leave_the_number_of_samples_open(source):
    with pytest.raises(DataError, match="samples=64"):
        data.synthesize(KEY, PLAIN, inputs=source)


# targets


@pytest.mark.parametrize("arch", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_planted_and_cascade_targets_are_outputs_of_the_architecture(arch):
    x = data.White()(KEY, arch, 4)
    filters = filters_for(arch)
    targets, v = data.Cascade(filters)(KEY, arch, x)
    np.testing.assert_array_equal(targets, apply(arch, tuple(map(jnp.asarray, filters)), x))
    for source in (data.Cascade(filters), data.Planted(0.6)):
        targets, v = source(KEY, arch, x)
        again, _ = data.Filter(v)(KEY, arch, x)
        np.testing.assert_allclose(targets, again, rtol=1e-10, atol=1e-12)


def test_planted_filters_have_the_given_standard_deviation():
    arch, x = Architecture(4, (4,)), np.ones((1, 4))
    keys = jax.random.split(KEY, 3000)
    v = jax.vmap(lambda key: data.Planted(0.6)(key, arch, jnp.asarray(x))[1])(keys)
    np.testing.assert_allclose(np.std(v, axis=0), 0.6, rtol=0.06)


def test_filter_targets_are_the_strided_correlation():
    x = np.asarray(data.White()(KEY, PLAIN, 3))
    v = filter_for(PLAIN)
    targets, true = data.Filter(v)(KEY, PLAIN, jnp.asarray(x))
    for row, target in zip(x, targets, strict=True):
        np.testing.assert_allclose(target, np.correlate(row, v, "valid")[::2], rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(true, v)


def test_filter_targets_with_channels_sum_over_input_channels():
    x, v = np.asarray(data.White()(KEY, CHANNELS, 3)), filter_for(CHANNELS)
    targets, _ = data.Filter(v)(KEY, CHANNELS, jnp.asarray(x))
    for i in range(3):
        for out in range(2):
            expected = sum(np.correlate(x[i, c], v[out, c], "valid") for c in range(2))
            np.testing.assert_allclose(targets[i, out], expected, rtol=1e-12, atol=1e-13)


def test_unrelated_targets_do_not_depend_on_the_inputs():
    first = data.Unrelated(2.0)(KEY, PLAIN, jnp.zeros((500, 13)))
    second = data.Unrelated(2.0)(KEY, PLAIN, jnp.ones((500, 13)))
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] is None
    np.testing.assert_allclose(np.std(first[0]), 2.0, rtol=0.1)


# synthesis


SIGNED = data.Filter([1.0, -2.0, 0.5, 0.0, 1.0, 0.0, -1.0])


def test_labels_are_the_signs_of_their_source_which_separates_them():
    made = data.synthesize(KEY, PLAIN, 40, targets=data.Labels(SIGNED))
    outputs = SIGNED(KEY, PLAIN, made.inputs)[0]
    assert made.true_filter is None
    np.testing.assert_array_equal(made.targets, np.where(outputs >= 0, 1.0, -1.0))
    assert set(np.unique(made.targets)) == {-1.0, 1.0}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 1.0])
def test_exactly_the_share_of_labels_is_flipped_and_the_inputs_stay(share):
    true, wrong = (data.synthesize(KEY, PLAIN, 25, targets=data.Labels(flipped=f)) for f in (0.0, share))
    np.testing.assert_array_equal(true.inputs, wrong.inputs)
    assert int((true.targets != wrong.targets).sum()) == round(share * true.targets.size)


def test_labels_of_a_source_of_the_user_are_drawn_outside_jit():
    def alternate(key, arch, inputs):
        signs = np.resize([-3.0, 3.0], (len(inputs), *arch.output_shape))  # concrete values: no program could be made
        return jnp.asarray(signs), None

    made = data.synthesize(KEY, PLAIN, 5, targets=data.Labels(alternate))
    np.testing.assert_array_equal(made.targets, np.resize([-1.0, 1.0], made.targets.shape))


def test_each_choice_leaves_what_the_others_draw_unchanged():
    base = data.synthesize(KEY, PLAIN, 8)
    corrupted = data.synthesize(KEY, PLAIN, 8, noise=0.3, outliers=data.Outliers(0.2))
    np.testing.assert_array_equal(base.inputs, corrupted.inputs)
    np.testing.assert_array_equal(base.true_filter, corrupted.true_filter)
    unrelated = data.synthesize(KEY, PLAIN, 8, targets=data.Unrelated())
    np.testing.assert_array_equal(base.inputs, unrelated.inputs)
    coloured = data.synthesize(KEY, PLAIN, 8, inputs=data.Autoregressive(0.5))
    np.testing.assert_array_equal(base.true_filter, coloured.true_filter)
    noisy = data.synthesize(KEY, PLAIN, 8, noise=0.3)
    both = corrupted.targets - noisy.targets
    only = data.synthesize(KEY, PLAIN, 8, outliers=data.Outliers(0.2)).targets - base.targets
    np.testing.assert_allclose(both, only, atol=1e-12)


def test_noise_is_relative_to_the_root_mean_square_of_clean_targets():
    for std in (0.1, 1e200):
        clean = data.synthesize(KEY, PLAIN, 2000, inputs=data.White(std))
        noisy = data.synthesize(KEY, PLAIN, 2000, inputs=data.White(std), noise=0.25)
        scale = np.max(np.abs(clean.targets))
        rms = np.sqrt(np.mean((clean.targets / scale) ** 2))
        error = np.std((noisy.targets - clean.targets) / scale)
        np.testing.assert_allclose(error / rms, 0.25, rtol=0.03)


def test_all_zero_targets_stay_zero_under_noise_and_outliers():
    samples = data.synthesize(KEY, PLAIN, 5, targets=data.Filter(np.zeros(7)), noise=0.5, outliers=data.Outliers(1.0))
    np.testing.assert_array_equal(samples.targets, 0)


def test_outliers_hit_the_given_fraction_by_scale_times_rms_with_random_sign():
    clean = data.synthesize(KEY, PLAIN, 4000).targets
    hit = data.synthesize(KEY, PLAIN, 4000, outliers=data.Outliers(0.1, scale=7.0)).targets
    error = np.asarray(hit - clean) / np.sqrt(np.mean(np.square(clean)))
    np.testing.assert_allclose(np.mean(error != 0), 0.1, atol=0.01)
    np.testing.assert_allclose(np.abs(error[error != 0]), 7.0, rtol=1e-10)
    np.testing.assert_allclose(np.mean(error[error != 0] > 0), 0.5, atol=0.06)
    everywhere = data.synthesize(KEY, PLAIN, 40, outliers=data.Outliers(1.0)).targets
    assert np.all(everywhere != clean[:40])
    nowhere = data.synthesize(KEY, PLAIN, 40, outliers=data.Outliers(0.0)).targets
    np.testing.assert_array_equal(nowhere, data.synthesize(KEY, PLAIN, 40).targets)


@pytest.mark.parametrize("arch", [PLAIN, CHANNELS], ids=["1-D", "channels"])
def test_synthesis_is_a_pure_function_of_the_key_under_jit_and_vmap(arch):
    def make(key, noise):
        return data.synthesize(key, arch, 4, noise=noise, outliers=data.Outliers(noise))

    keys, levels = jax.random.split(KEY, 3), jnp.array([0.0, 0.1, 0.5])
    batch = jax.jit(jax.vmap(make))(keys, levels)
    assert batch.targets.shape == (3, 4, *arch.output_shape)
    single = make(keys[1], 0.1)
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(batch), strict=True):
        np.testing.assert_allclose(b[1], a, rtol=1e-9, atol=1e-11)


def test_data_drawn_by_one_program_are_those_that_the_choices_draw_one_after_the_other():
    keys = jax.random.split(KEY, 4)
    outliers = data.Outliers(0.2)
    x = data.White(2.0)(keys[0], PLAIN, 4)
    clean, true_filter = data.Planted(0.6)(keys[1], PLAIN, x)
    drawn = data.synthesize(KEY, PLAIN, 4, inputs=data.White(2.0), noise=0.3, outliers=outliers)
    np.testing.assert_allclose(drawn.inputs, x, rtol=1e-15)
    np.testing.assert_allclose(drawn.true_filter, true_filter, rtol=1e-14)
    expected = add_noise(keys[2], clean, 0.3) + outliers(keys[3], clean)
    np.testing.assert_allclose(drawn.targets, expected, rtol=1e-12, atol=1e-13)


def test_choices_of_the_user_see_values_and_may_be_anything_that_can_be_called():
    def inputs(key, arch, samples):
        return np.arange(samples * 13.0).reshape(samples, 13)

    def targets(key, arch, x):
        return jnp.asarray(np.asarray(x)[:, :4]), None  # of a tracer there are no values

    drawn = data.synthesize(KEY, PLAIN, 2, inputs=inputs, targets=targets)
    np.testing.assert_array_equal(drawn.inputs[1], np.arange(13.0, 26.0))
    np.testing.assert_array_equal(drawn.targets[1], np.arange(13.0, 17.0))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: data.White(-1.0), r"std = -1.0 must be a finite number in \[0, inf\]"),
        (lambda: data.Autoregressive(1.0), r"\(-1, 1\)"),
        (lambda: data.Autoregressive("x"), "not a number"),
        (lambda: data.LowRank(0), "at least 1"),
        (lambda: data.LowRank(2.5), "plain integer"),
        (lambda: data.LowRank(14)(KEY, PLAIN, 3), "13 entries: use at most 13"),
        (lambda: data.MissingPatches(7)(KEY, PLAIN, 3), "7 entries: use 0 to 6"),
        (lambda: data.MissingPatches((0, -1)), "at least 0"),
        (lambda: data.MissingPatches(()), "empty"),
        (lambda: data.Windows(np.ones(12))(KEY, PLAIN, None), r"no window of shape \(13,\)"),
        (lambda: data.Windows(np.ones(20), step=0), "at least 1"),
        (lambda: data.Windows(np.ones((20, 20)), step=(1, 1, 1))(KEY, IMAGE, None), "3 numbers for 2 axes"),
        (lambda: data.Windows([1.0, np.nan]), r"signal\[1\] is nan"),
        (lambda: data.Windows(np.ones(20))(KEY, PLAIN, 0), "at least 1"),
        (lambda: data.Planted(float("nan")), "std"),
        (lambda: data.Filter(np.ones(5))(KEY, PLAIN, jnp.ones((1, 13))), r"has shape \(7,\)"),
        (lambda: data.Filter([np.inf]), r"v\[0\] is inf"),
        (lambda: data.Cascade([[1.0], [np.nan]]), r"filters\[1\]\[0\] is nan"),
        (lambda: data.Outliers(1.5), r"fraction = 1.5 must be a finite number in \[0, 1\]"),
        (lambda: data.Outliers(0.1, -1), "scale"),
        (lambda: data.Labels(flipped=1.5), r"flipped = 1.5 must be a finite number in \[0, 1\]"),
        (lambda: data.Labels(0.1), "source is 0.1: write the targets"),
        (lambda: data.synthesize(KEY, PLAIN, 4, noise=-0.1), "noise = -0.1"),
        (lambda: data.synthesize(KEY, PLAIN, 4.0), "plain integer"),
        (lambda: data.synthesize(KEY, PLAIN, True), "integer"),
        (lambda: data.photograph("cat"), "no 'cat': write one of 'camera', 'ascent', 'aero'"),
    ],
)
def test_choices_out_of_range_are_refused_with_the_range(build, text):
    with pytest.raises(DataError, match=text):
        build()


def test_cascade_of_another_architecture_is_refused():
    with pytest.raises(ArchitectureError, match="shapes"):
        data.synthesize(KEY, PLAIN, 4, targets=data.Cascade([np.ones(3)]))


# real signals


@pytest.mark.parametrize(
    ("signal", "shape"),
    [
        (data.ecg, (1024,)),
        (data.climate, (264,)),
        *((lambda name=name: data.photograph(name), (512, 512)) for name in ("camera", "ascent", "aero")),
    ],
)
def test_real_signals_are_normalised_and_not_constant(signal, shape):
    x = np.asarray(signal())
    assert x.shape == shape
    assert x.dtype == jnp.result_type(float)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-12)
    assert len(np.unique(x)) > 50


def test_windows_of_real_signals_make_data_sets():
    samples = data.synthesize(KEY, PLAIN, inputs=data.Windows(data.climate(), step=4), noise=0.1)
    assert samples.inputs.shape == ((264 - 13) // 4 + 1, 13)
    image = data.synthesize(KEY, IMAGE, 32, inputs=data.Windows(data.photograph(), step=8))
    assert image.targets.shape == (32, *IMAGE.output_shape)
