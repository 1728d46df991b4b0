"""Description of what `gradient_flow_ensemble` will do with a risk: form, cost per step, memory, lanes and devices."""

from dataclasses import dataclass, fields
from typing import Any

import jax

from lcnn_flow.ensemble.memory import data_bytes, device_bytes, lane_bytes, lanes_that_fit
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.linear import check_linear

__all__ = ["Description", "describe"]

_FORMS = {
    "reduced": "normal equations of the data, independent of the number of samples",
    "patches": "products with the patch matrix",
    "moments": "moments of the data, independent of the number of samples",
    "layers": "products with the patch matrix",
}


@dataclass(frozen=True)
class Description:
    """Result of `describe`; prints as a table."""

    form: str
    """`EmpiricalRisk.form`, by which risk, gradient and verdict are computed."""
    driver: str
    """The form that computes the steps of an ensemble."""
    rows: int
    """Rows of the patch matrix: samples times outputs per sample."""
    columns: int
    """q: entries of the end-to-end filter of one output channel."""
    parameters: int
    gradient_cost: int
    """Multiply-adds of one gradient, per flow."""
    step_cost: int
    """Multiply-adds of one step of Rodas4, per flow."""
    lane_bytes: int
    """Working memory of one flow."""
    data_bytes: int
    """Memory that all flows on a device share."""
    device: str
    device_bytes: int
    """Memory of a device."""
    devices: int
    lanes: int
    """Number of flows that run at once on a device."""

    def __str__(self) -> str:
        rows = [(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)]
        return "\n".join(f"{name:14s} {_shown(name, value)}" for name, value in rows)


def describe(risk: EmpiricalRisk, devices: Any = None) -> Description:
    """Form, cost and memory of the flows of a risk, or of a batch of risks, on these devices (by default all local
    ones).

    Args:
        risk: an `EmpiricalRisk`, or C of them with a leading axis on some leaves.
        devices: the devices that flows would run on; None means all local ones.

    Returns:
        `Description`, which prints as a few lines; memory is in bytes.

    Raises:
        FlowError: fewer than eight flows fit into the memory of a device.
    """
    chosen = jax.local_devices() if devices is None else devices
    risk = check_linear("describe", risk)
    rows, q, _ = risk.table_shape
    return Description(
        form=risk.form,
        driver=_FORMS[risk.form],
        rows=rows,
        columns=q,
        parameters=risk.arch.num_parameters,
        gradient_cost=risk.gradient_cost,
        step_cost=risk.step_cost,
        lane_bytes=lane_bytes(risk),
        data_bytes=data_bytes(risk),
        device=f"{chosen[0].platform} ({chosen[0].device_kind})",
        device_bytes=device_bytes(chosen[0]),
        devices=len(chosen),
        lanes=lanes_that_fit(risk, chosen[0]),
    )


def _shown(name: str, value: Any) -> str:
    if name.endswith("bytes"):
        power = max(0, min(3, (value.bit_length() - 1) // 10))
        return f"{value / 2 ** (10 * power):,.4g} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"
    if name.endswith("cost"):
        return f"{value:,} multiply-adds"
    return f"{value:,}" if isinstance(value, int) else value
