"""Memory per flow, and the number of flows that fit on a device. Derived from the shapes, in bytes."""

import math
from typing import Any

import jax

from lcnn_flow.errors import FlowError
from lcnn_flow.numerics.memory import physical_memory
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["data_bytes", "device_bytes", "lane_bytes", "lanes_that_fit", "seeds_that_fit", "trajectory_bytes"]

_LANES = {"cpu": 64}
_MANY_LANES = 2048
"""Lanes on an accelerator."""
_SHARE = 0.5
"""Fraction of the device's memory that may be planned, because intermediate results overlap."""


def lane_bytes(risk: LinearRisk) -> int:
    """Working memory of one flow in a lane: residuals, end-to-end Jacobian and Hessians of one step."""
    arch = risk.arch
    rows, q, c = risk.table_shape
    n = arch.num_parameters
    numbers = 6 * n * n + 3 * c * q * n + 2 * c * q * (q + 1) // 2 + 20 * n
    if risk.form != "reduced":
        numbers += 4 * rows * c
    return numbers * risk.data.inputs.dtype.itemsize


def trajectory_bytes(risk: LinearRisk, times: int) -> int:
    """Memory of one flow recorded at `times` times: the table that lanes write, and the `Trajectory`."""
    arch = risk.arch
    _, q, c = risk.table_shape
    numbers = 2 * (arch.num_parameters + 2) + c * q + 2 * arch.depth + 6
    return times * numbers * risk.data.inputs.dtype.itemsize


def data_bytes(risk: LinearRisk) -> int:
    """Memory that all flows on a device share: the data, the patch matrix, and quantities derived from them once."""
    rows, q, c = risk.table_shape
    numbers = risk.data.inputs.size + risk.data.targets.size
    if risk.form != "reduced":
        numbers += rows * (2 * q + c + q * (q + 1) // 2)
    return (numbers + 4 * q * q) * risk.data.inputs.dtype.itemsize


def device_bytes(device: Any) -> int:
    """Memory of a device; for a CPU device the memory of the machine, divided by the number of CPU devices."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return physical_memory() // max(1, jax.local_device_count("cpu") if device.platform == "cpu" else 1)


def lanes_that_fit(risk: LinearRisk, device: Any, times: int = 0) -> int:
    """Number of flows that run at once: suited to the kind of device, or smaller if memory is short; a multiple of 8.

    Args:
        risk: the risk to minimise.
        device: the device.
        times: number of times at which flows are recorded.

    Raises:
        FlowError: fewer than eight flows fit.
    """
    free, needed = _SHARE * device_bytes(device) - data_bytes(risk), lane_bytes(risk) + trajectory_bytes(risk, times)
    fit = math.floor(free / needed / 8) * 8
    if fit < 8:
        fewer = "fewer samples, smaller inputs or shorter filters" + (", or fewer times" if times else "")
        raise FlowError(
            f"a flow needs {needed / 2**20:,.0f} MiB in addition to {data_bytes(risk) / 2**20:,.0f} MiB for "
            f"the data, but {device.device_kind} has {device_bytes(device) / 2**20:,.0f} MiB, of which half is planned "
            f"for: use {fewer}"
        )
    return min(fit, _LANES.get(device.platform, _MANY_LANES))


def seeds_that_fit(risk: LinearRisk, device: Any, times: int, width: int) -> int:
    """Largest number of seeds per block for `width` lanes, whose trajectories stay on the device until the block is
    done.

    A multiple of `width`, which is at most `lanes_that_fit`.
    """
    free = _SHARE * device_bytes(device) - data_bytes(risk) - width * lane_bytes(risk)
    return max(1, math.floor(free / (trajectory_bytes(risk, times) * width))) * width
