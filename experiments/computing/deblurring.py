"""Data of deblurring: windows of a blurred photograph as inputs, and the middle of the sharp windows as targets."""

import math

import jax
import numpy as np

import lcnn_flow as lf
from experiments.errors import UserError
from experiments.schema import DeblurringData

__all__ = ["blurred_photograph", "deblurring_data", "shown_part"]

_REACH = 4.0
"""Standard deviations of the blur at which its kernel is cut off."""
_SHOWN = (60, 188, 170, 298)
"""First and last row, first and last column of the part that reports show: in the upper half, which has no samples."""


def blurred_photograph(data: DeblurringData) -> tuple[np.ndarray, np.ndarray]:
    """The sharp photograph, with mean 0 and standard deviation 1, and the blurred one with noise; both (512, 512)."""
    with jax.ensure_compile_time_eval():  # plans trace this function
        sharp = np.asarray(lf.data.photograph(data.photograph))
    reach = math.ceil(_REACH * data.blur)
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * data.blur**2))
    kernel /= kernel.sum()
    padded = np.pad(sharp, reach, mode="reflect")
    rows = np.sum([weight * padded[i : i + len(sharp)] for i, weight in enumerate(kernel)], axis=0)
    blurred = np.sum([weight * rows[:, i : i + len(sharp)] for i, weight in enumerate(kernel)], axis=0)
    noise = np.random.default_rng(data.seed).standard_normal(sharp.shape)
    return sharp, blurred + data.noise * noise


def deblurring_data(data: DeblurringData, arch: lf.Architecture) -> lf.Dataset:
    """`data.samples` random windows of the lower half.

    Raises:
        UserError: the windows are too large; or the network does not map windows to their middle, for which it needs
            two dimensions, one channel, stride 1 and an end-to-end filter of odd size.
    """
    margin = _margin(arch)
    sharp, blurred = blurred_photograph(data)
    height, width = arch.input_shape
    first, last = len(sharp) // 2, len(sharp) - height
    if last <= first or width >= len(sharp):
        raise UserError(f"network.input_shape = {arch.input_shape} is too large for half a photograph, 256 x 512")
    generator = np.random.default_rng([data.seed, 1])
    tops = generator.integers(first, last + 1, data.samples)
    lefts = generator.integers(0, sharp.shape[1] - width + 1, data.samples)
    inputs = np.stack([blurred[i : i + height, j : j + width] for i, j in zip(tops, lefts, strict=True)])
    rows, columns = (slice(m, size - m) for m, size in zip(margin, (height, width), strict=True))
    targets = np.stack([sharp[i : i + height, j : j + width][rows, columns] for i, j in zip(tops, lefts, strict=True)])
    return lf.Dataset(inputs.reshape(-1, *arch.sample_shape), targets.reshape(-1, *arch.output_shape))


def shown_part(data: DeblurringData, arch: lf.Architecture) -> dict[str, np.ndarray]:
    """ "sharp", a part of the upper half, and "blurred", the same part with the margin that the filter needs."""
    sharp, blurred = blurred_photograph(data)
    top, bottom, left, right = _SHOWN
    high, wide = _margin(arch)
    return {
        "sharp": sharp[top:bottom, left:right],
        "blurred": blurred[top - high : bottom + high, left - wide : right + wide],
    }


def _margin(arch: lf.Architecture) -> tuple[int, int]:
    """Half the size of the end-to-end filter: the margin by which outputs are smaller than windows on every side."""
    strides = {step for stride in arch.strides for step in np.atleast_1d(stride).tolist()}
    sizes = tuple(arch.end_to_end_kernel_size)
    single = arch.channels is None and arch.dimension == 2
    if not single or strides != {1} or any(size % 2 == 0 for size in sizes):
        raise UserError(
            "data.kind = deblurring needs a network of two dimensions, one channel and stride 1 with an end-to-end "
            "filter of odd size: for example input_shape = [16, 16] and kernel_sizes = [[3, 3], [3, 3]]"
        )
    return sizes[0] // 2, sizes[1] // 2
