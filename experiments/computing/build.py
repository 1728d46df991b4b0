"""Makes the objects of `lcnn_flow` that a configuration describes.

Random keys: data depend on `data.seed` alone, and initial filters on `fold_in(root_seed, seed)` alone. Therefore all
cells of a sweep start from the same filters and learn from the same data, unless these are varied by an axis.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from experiments.computing.deblurring import deblurring_data
from experiments.errors import UserError
from experiments.networks import architecture, params_of
from experiments.schema import Configuration, DeblurringData, FileData
from lcnn_flow.numerics.compiling import runs_once

__all__ = ["build_data", "build_loss", "build_problem", "flow_options", "initial_filters"]


def build_problem(configuration: Configuration) -> tuple[Any, lf.data.Dataset, lf.EmpiricalRisk]:
    """Network, data and empirical risk of one cell.

    Raises:
        UserError: the library refused a value; the message is that of the library.
    """
    try:
        arch = architecture(configuration)
        data = build_data(configuration, arch)
        minibatches = configuration.descent is not None and configuration.descent.batch_size is not None
        form = "patches" if minibatches and arch.is_linear else "auto"  # other forms do not keep the samples
        return arch, data, lf.EmpiricalRisk(arch, build_loss(configuration), data, form)
    except lf.LcnnFlowError as error:
        raise UserError(str(error)) from error


def build_loss(configuration: Configuration) -> Any:
    """The elementwise loss."""
    numbers = configuration.loss.model_dump(exclude={"kind"})
    kind: Any = lf.losses.ALL_LOSSES[configuration.loss.kind]
    return kind(**numbers)


def build_data(configuration: Configuration, arch: Any) -> lf.data.Dataset:
    """Inputs and targets: from a file, or synthesised from `data.seed`.

    Raises:
        UserError: the arrays of a file do not have the shapes that this network needs.
        lcnn_flow.DataError: the file cannot be used.
    """
    data = configuration.data
    if isinstance(data, FileData):
        return _load(data, arch)
    if isinstance(data, DeblurringData):
        return deblurring_data(data, arch)
    outliers = None
    if data.outliers is not None:
        outliers = lf.data.Outliers(data.outliers.fraction, data.outliers.scale)
    return lf.data.synthesize(
        jax.random.key(data.seed),
        arch,
        samples=data.samples,
        inputs=_inputs(data.inputs),
        targets=_targets(data.targets, arch),
        noise=data.noise,
        outliers=outliers,
    )


def _load(data: FileData, arch: Any) -> lf.data.Dataset:
    loaded = lf.data.load(data.path, data.inputs, data.targets, data.split)
    shapes = {
        "inputs": (loaded.inputs.shape[1:], arch.sample_shape),
        "targets": (loaded.targets.shape[1:], arch.output_shape),
    }
    if not arch.is_linear:
        loaded = loaded.replace(true_filter=None)
    if loaded.true_filter is not None:
        shapes["true_filter"] = (loaded.true_filter.shape, arch.end_to_end_filter_shape)
    for name, (found, needed) in shapes.items():
        if found != needed:
            sample = "" if name == "true_filter" else " a sample"
            raise UserError(
                f"{data.path}: {name} of shape {found}{sample}, but this network needs {needed}: change the file, or "
                + _sizes(arch)
            )
    return loaded


def _sizes(arch: Any) -> str:
    """The keys of a configuration on which the shapes of data depend."""
    return "network.widths" if isinstance(arch, lf.Dense) else "network.input_shape, kernel_sizes, strides or channels"


def _inputs(inputs: Any) -> Any:
    match inputs.kind:
        case "white":
            return lf.data.White(inputs.std)
        case "autoregressive":
            return lf.data.Autoregressive(inputs.rho)
        case "anisotropic":
            return lf.data.Anisotropic(inputs.condition)
        case "low_rank":
            return lf.data.LowRank(inputs.rank)
        case "missing_patches":
            return lf.data.MissingPatches(inputs.taps)
        case _:
            return lf.data.Windows(_signal(inputs.signal), inputs.step)


def _signal(name: str) -> jax.Array:
    match name:
        case "ecg":
            return lf.data.ecg()
        case "climate":
            return lf.data.climate()
        case _:
            return lf.data.photograph(name)


def _targets(targets: Any, arch: Any) -> Any:
    match targets.kind:
        case "planted":
            return lf.data.Planted(targets.std)
        case "cascade":
            return lf.data.Cascade(_filters(targets.filters, arch))
        case "labels":
            return lf.data.Labels(_targets(targets.source, arch), targets.flipped)
        case "filter":
            return lf.data.Filter(jnp.asarray(targets.values).reshape(arch.end_to_end_filter_shape))
        case _:
            return lf.data.Unrelated(targets.std)


def _filters(filters: Any, arch: Any) -> Any:
    shaped = [jnp.asarray(w).reshape(shape) for w, shape in zip(filters, arch.layer_shapes, strict=True)]
    return params_of(arch, shaped)


def initial_filters(configuration: Configuration, arch: Any, seeds: range) -> Any:
    """Initial parameters of these seeds, in the structure of the network, with a leading axis of seeds."""
    chosen = configuration.initializer
    arguments: tuple[Any, ...] = tuple(chosen.model_dump(exclude={"kind"}).values())
    if chosen.kind == "constant":
        arguments = (_filters(arguments[0], arch),)
    arguments = jax.tree.map(np.asarray, arguments)  # arguments of the program, so that axes over them compile once
    root = jax.random.key(configuration.root_seed)
    return _draw(chosen.kind, arch, arguments, root, np.arange(seeds.start, seeds.stop))


@runs_once
def _draw(kind: str, arch: Any, arguments: Any, root: jax.Array, seeds: jax.Array) -> Any:
    factories = {
        "gaussian": lf.initializers.gaussian,
        "fan_in": lf.initializers.fan_in,
        "balanced": lf.initializers.balanced,
        "imbalanced": lf.initializers.imbalanced,
        "orthogonal": lf.initializers.orthogonal,
        "scaled": lf.initializers.scaled,
        "constant": lf.initializers.constant,
    }
    initializer = factories[kind](*arguments)
    return jax.vmap(lambda seed: initializer(jax.random.fold_in(root, seed), arch))(seeds)


def flow_options(configuration: Configuration) -> dict[str, Any]:
    """Keyword arguments of `lcnn_flow.gradient_flow_ensemble` that the configuration sets."""
    options = configuration.flow.model_dump(exclude_none=True, exclude={"times"})
    times = configuration.flow.times
    if times is not None:
        grid = lf.log_times(times.start, times.stop, times.count)
        options["times"] = jnp.concatenate([jnp.zeros(1, grid.dtype), grid])
    if configuration.compute.block_size is not None:
        options["block_size"] = configuration.compute.block_size
    return options
