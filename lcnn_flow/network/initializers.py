"""Initial parameters of a flow: each factory returns a function `initialize(key, arch) -> params`.

`initialize` is a pure function of the key, compiled as one small program per `arch`. For a batch of keys, such as
`jax.random.split(key, 100)`, it returns one initial point per key, with the keys' axis in front of every leaf.
Parameters have the default floating type; numbers such as `std` may be traced. `arch` is an `Architecture` or `Dense`.
Statements about filters hold for the matrices of a dense network too, and biases start at 0.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Real, Shaped

from lcnn_flow.arguments import check_key, check_kind, is_batch_of_keys
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense, Network
from lcnn_flow.network.parameters import Params, by_layer
from lcnn_flow.numerics.arrays import as_float_array, is_concrete
from lcnn_flow.numerics.compiling import runs_once

__all__ = ["Initializer", "balanced", "constant", "fan_in", "gaussian", "imbalanced", "orthogonal", "scaled"]

Initializer = Callable[[Any, Network], Any]
"""(key or batch of keys, arch) -> parameters of the network, in the form that `Architecture` and `Dense` describe."""


def gaussian(std: float | Float[Array, ""] = 0.5) -> Initializer:
    """Independent N(0, std^2) entries.

    Args:
        std: standard deviation of an entry; a traced number is allowed.

    Returns:
        A function of a key, or a batch of keys, and an `Architecture` or `Dense`. It returns parameters of that
        network, one per key.

    Raises:
        ArchitectureError: std is negative or not finite.
    """
    _check_nonnegative("gaussian", "std", std)
    return _drawing("gaussian", _gaussian, std)


def fan_in(gain: float | Float[Array, ""] = 1.0) -> Initializer:
    """Independent N(0, gain^2 / fan-in) entries, where the fan-in is the number of inputs of one neuron.

    gain = 1 preserves the variance of signals in a linear network (LeCun et al. 1998), gain = sqrt(2) in a relu network
    (He et al. 2015).

    Args:
        gain: factor of the standard deviation 1 / sqrt(fan-in).

    Returns:
        A function of a key, or a batch of keys, and an `Architecture` or `Dense`. It returns parameters of that
        network, one per key.

    Raises:
        ArchitectureError: gain is negative or not finite.
    """
    _check_nonnegative("fan_in", "gain", gain)
    return _drawing("fan_in", _fan_in, gain)


def balanced(std: float | Float[Array, ""] = 0.5) -> Initializer:
    """Gaussian directions with the same Euclidean (Frobenius) norm in every layer.

    The common norm is std sqrt(n/N) for n parameters in N layers: the sum of all squares is n std^2, the expectation
    under `gaussian(std)`. For a single channel every h_l = (|w_l|^2 - |w_{l+1}|^2)/2 is zero up to rounding. With
    channels only the traces of the conserved matrices Q_l are zero, not the matrices themselves.

    Args:
        std: root mean square of all entries together.

    Returns:
        A function of a key, or a batch of keys, and an `Architecture` or `Dense`. It returns parameters of that
        network, one per key.

    Raises:
        ArchitectureError: std is negative or not finite.
    """
    _check_nonnegative("balanced", "std", std)
    return _drawing("balanced", _balanced, std)


def imbalanced(std: float | Float[Array, ""] = 0.5, ratio: float | Float[Array, ""] = 1.0) -> Initializer:
    """Gaussian directions; norms fall geometrically from the first layer to the last, `ratio` being first over last.

    The geometric mean of the norms is the common norm of `balanced(std)`, so that the scale of the end-to-end filter
    does not depend on `ratio`. ratio = 1 is `balanced(std)`; below 1 the norms rise.

    Args:
        std: as of `balanced`, with the same geometric mean of the norms.
        ratio: norm of the first layer divided by that of the last one.

    Returns:
        A function of a key, or a batch of keys, and an `Architecture` or `Dense`. It returns parameters of that
        network, one per key.

    Raises:
        ArchitectureError: std is negative or not finite; or ratio is not positive and finite.
    """
    _check_nonnegative("imbalanced", "std", std)
    if is_concrete(ratio) and not (np.isfinite(np.asarray(ratio)) and np.asarray(ratio) > 0):
        raise ArchitectureError(f"imbalanced: ratio = {ratio} must be finite and above 0")
    return _drawing("imbalanced", _imbalanced, (std, ratio))


def orthogonal(gain: float | Float[Array, ""] = 1.0) -> Initializer:
    """Random semi-orthogonal filters times `gain`.

    With channels, layer l as a matrix (c_l, c_{l-1} prod k_l) has orthonormal rows, or orthonormal columns if it has
    more rows than columns, and is uniformly distributed. A single channel is the case of one row: a filter of norm
    `gain` in a uniformly random direction.

    Args:
        gain: factor of the semi-orthogonal matrices.

    Returns:
        A function of a key, or a batch of keys, and an `Architecture` or `Dense`. It returns parameters of that
        network, one per key.

    Raises:
        ArchitectureError: gain is negative or not finite.
    """
    _check_nonnegative("orthogonal", "gain", gain)
    return _drawing("orthogonal", _orthogonal, gain)


def scaled(
    norms: Sequence[Real[ArrayLike, ""]] | Real[ArrayLike, " depth"], base: Initializer | None = None
) -> Initializer:
    """The directions of `base` (default `gaussian()`) with a given Euclidean (Frobenius) norm per layer.

    A filter that `base` sets to zero has no direction and stays zero.

    Args:
        norms: one Euclidean norm per layer.
        base: the initializer that gives the directions.

    Returns:
        A function of a key, or a batch of keys, and an `Architecture` or `Dense`. It returns parameters of that
        network, one per key.

    Raises:
        ArchitectureError: a norm is negative or not finite; or, when called, the number of norms is not the number of
            layers.
    """
    if isinstance(norms, list | tuple):
        norms = jnp.stack([as_float_array(norm) for norm in norms]) if norms else jnp.zeros((0,))
    lengths = as_float_array(norms)
    _check_nonnegative("scaled", "norms", lengths)
    draw = gaussian() if base is None else base

    def initialize(key: Any, arch: Network) -> Any:
        if is_batch_of_keys(key):
            return jax.vmap(lambda one: initialize(one, arch))(key)
        if lengths.shape != (arch.depth,):
            raise ArchitectureError(
                f"scaled: norms has shape {lengths.shape} for {arch.depth} layers: write one norm per layer, "
                f"for example {(1.0,) * arch.depth}"
            )
        drawn = draw(key, arch)
        weights, biases = zip(*drawn, strict=True) if arch.bias else (drawn, drawn)
        return arch.assemble(_of_length(tuple(weights), lengths), biases)

    return initialize


def constant(params: Sequence[Any]) -> Initializer:
    """The given parameters, for every key.

    Args:
        params: one array per layer, or the tree of parameters of a `Dense`.

    Returns:
        A function of a key, or a batch of keys, and an `Architecture` or `Dense`. It returns parameters of that
        network, one per key.

    Raises:
        ArchitectureError: an entry is not finite; or, when called, the shapes do not fit the architecture.
    """

    def convert(name: str, w: Any) -> Array:
        array = as_float_array(w)
        if is_concrete(array) and not np.all(np.isfinite(np.asarray(array))):
            raise ArchitectureError(f"constant: params{name} is not finite: {w}")
        return array

    filters = by_layer(convert, params)

    def initialize(key: Any, arch: Network) -> Any:
        arch.check_params(filters)
        if is_batch_of_keys(key):
            return jax.tree.map(lambda w: jnp.broadcast_to(w, (len(key), *w.shape)), filters)
        return filters

    return initialize


@runs_once
def _gaussian(arch: Network, key: PRNGKeyArray, std: float | Array) -> Params:
    sizes = [math.prod(shape) for shape in arch.weight_shapes]
    longest = max(sizes)
    # One draw for all layers, which compiles once: the first n of a longer draw by the same key are those of n alone.
    rows = jax.vmap(lambda layer: jax.random.normal(layer, (longest,)))(jax.random.split(key, arch.depth))
    drawn = [rows[i, :n].reshape(shape) for i, (n, shape) in enumerate(zip(sizes, arch.weight_shapes, strict=True))]
    return tuple(jnp.asarray(std, w.dtype) * w for w in drawn)


@runs_once
def _fan_in(arch: Network, key: PRNGKeyArray, gain: float | Array) -> Params:
    single = arch.has_single_channel
    drawn = _gaussian(arch, key, 1.0)
    inputs = [math.prod(w.shape if single else w.shape[1:]) for w in drawn]
    return tuple(jnp.asarray(gain, w.dtype) / math.sqrt(count) * w for w, count in zip(drawn, inputs, strict=True))


@runs_once
def _balanced(arch: Network, key: PRNGKeyArray, std: float | Array) -> Params:
    count = sum(math.prod(shape) for shape in arch.weight_shapes)
    norm = jnp.asarray(std, jnp.result_type(float)) * math.sqrt(count / arch.depth)
    return tuple(norm * _direction(w) for w in _gaussian(arch, key, 1.0))


@runs_once
def _imbalanced(arch: Network, key: PRNGKeyArray, size: tuple[float | Array, float | Array]) -> Params:
    std, ratio = size
    filters = _balanced(arch, key, std)
    powers = np.linspace(0.5, -0.5, arch.depth) if arch.depth > 1 else np.zeros(1)
    return tuple(jnp.asarray(ratio, w.dtype) ** power * w for power, w in zip(powers.tolist(), filters, strict=True))


@runs_once
def _orthogonal(arch: Network, key: PRNGKeyArray, gain: float | Array) -> Params:
    single = arch.has_single_channel
    drawn = _gaussian(arch, key, 1.0)
    return tuple(jnp.asarray(gain, w.dtype) * (_direction(w) if single else _semi_orthogonal(w)) for w in drawn)


@jax.jit
def _of_length(params: Params, lengths: Array) -> Params:
    return tuple(lengths[layer].astype(w.dtype) * _direction(w) for layer, w in enumerate(params))


def _drawing(
    name: str, draw: Callable[[Network, PRNGKeyArray, Any], Params], size: float | Array | tuple[float | Array, ...]
) -> Initializer:
    """The initializer that checks its arguments and draws filters of this size."""
    order = f"the order is {name}(...)(key, arch)"

    def initialize(key: Any, arch: Network) -> Any:
        check_kind(name, "arch", arch, (Architecture, Dense), order, ArchitectureError)
        sizes = jax.tree.map(as_float_array, size)
        if is_batch_of_keys(key):
            return _for_each(draw, arch, key, sizes)
        check_key(name, key, ArchitectureError)
        return _with_biases(arch, draw(arch, key, sizes))

    return initialize


@runs_once
def _for_each(draw: Callable[..., Params], arch: Network, keys: Shaped[PRNGKeyArray, "..."], size: Any) -> Any:
    return jax.vmap(lambda key: _with_biases(arch, draw(arch, key, size)))(keys)


def _with_biases(arch: Network, weights: Params) -> Any:
    return arch.assemble(weights, [jnp.zeros(w.shape[:1], w.dtype) for w in weights] if arch.bias else weights)


def _check_nonnegative(factory: str, name: str, value: Any) -> None:
    if is_concrete(value):
        numbers = np.asarray(value, dtype=float)
        if not np.all(np.isfinite(numbers) & (numbers >= 0)):
            raise ArchitectureError(f"{factory}: {name} = {value} must be finite and at least 0")


def _direction(w: Array) -> Array:
    """w / |w|, and 0 for w = 0; dividing by the largest entry first avoids underflow of squares."""
    largest = jnp.max(jnp.abs(w))
    scaled_down = w / jnp.where(largest > 0, largest, 1.0)
    return scaled_down / jnp.where(largest > 0, jnp.sqrt(jnp.sum(scaled_down * scaled_down)), 1.0)


def _semi_orthogonal(gaussian_filter: Array) -> Array:
    """A Haar-distributed semi-orthogonal matrix of the same shape, by QR with positive diagonal of R."""
    matrix = gaussian_filter.reshape(gaussian_filter.shape[0], -1)
    wide = matrix.shape[0] < matrix.shape[1]
    q, r = jnp.linalg.qr(matrix.T if wide else matrix)
    q = q * jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0)[None, :].astype(q.dtype)
    return (q.T if wide else q).reshape(gaussian_filter.shape)
