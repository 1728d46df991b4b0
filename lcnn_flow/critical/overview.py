"""The results of a batch of flows: verdicts in words and, with the risk, the distinct limits."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lcnn_flow.arguments import described
from lcnn_flow.critical.distinct import above_lowest, grouped_by_filter
from lcnn_flow.errors import FlowError, RiskError
from lcnn_flow.limits.verdict import WITH_LIMIT, Summary, Verdict, html_table
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.risk.base import check_single, is_composite, is_risk

__all__ = ["Limits", "Overview", "summary"]

_MOST = 12


class Limits(NamedTuple):
    """The flows that end at one end-to-end filter, or at one value of the risk if it is not that of a linear
    network."""

    risk: float
    count: int
    verdicts: tuple[Verdict, ...]
    end_to_end_filter: np.ndarray | None
    """None if the risk is not that of a linear network."""
    above: float
    """Risk minus the lowest risk of all limits; 0 up to rounding."""

    @property
    def spurious(self) -> bool:
        """Whether this is a minimum whose risk is above that of another limit."""
        return self.above > 0 and Verdict.CONVERGED in self.verdicts


class Overview(Summary):
    """Counts of verdicts, and the distinct limits in order of increasing risk; prints as two tables."""

    def __init__(self, flow: Any, risk: Any) -> None:
        super().__init__(flow)
        self.limits = _distinct(flow, risk)
        self.by = "end-to-end filter" if is_composite(risk) else "risk"

    def _repr_html_(self) -> str:
        rows = [
            (f"{one.risk:.8g}", str(one.count), "/".join(v.name for v in one.verdicts), "spurious" * one.spurious)
            for one in self.limits[:_MOST]
        ]
        return super()._repr_html_() + html_table((f"risk, limits by {self.by}", f"{self.noun}s", "verdict", ""), rows)

    def __repr__(self) -> str:
        lines = [super().__repr__(), f"distinct limits, by {self.by}: {len(self.limits)}"]
        for number, one in enumerate(self.limits[:_MOST], start=1):
            kinds = "/".join(verdict.name for verdict in one.verdicts)
            words = f"  {number:4d}  risk {one.risk:<12.8g} {one.count:6d} of {self.total} {self.noun}s  {kinds}"
            if one.spurious:
                words += f", spurious: {one.above:.3g} above the lowest"
            lines.append(words)
        if len(self.limits) > _MOST:
            lines.append(f"  and {len(self.limits) - _MOST} more")
        return "\n".join(lines)


def summary(flow: Any, risk: Any = None) -> Summary:
    """Counts and explains the verdicts of a flow or a batch of flows; not for use under jit.

    Args:
        flow: result of `gradient_flow`, `gradient_descent` or one of their ensembles.
        risk: the minimised risk; a single risk, not a batch. If given, the distinct limits are listed too, in order of
            increasing risk. They are distinguished by end-to-end filter, or by risk if it is not that of a linear
            network. A minimum above the lowest limit is called spurious.

    Returns:
        `Summary`, a text that prints as a table, in a notebook too.

    Raises:
        FlowError: `flow` is not the result of a flow.
        RiskError: risk is a batch of risks.
    """
    if not all(hasattr(flow, name) for name in ("verdict", "reason", "steps", "limit")):
        raise FlowError(f"summary needs the result of gradient_flow or of an ensemble, not {described(flow)}")
    if risk is None:
        return Summary(flow)
    if not is_risk(risk):
        raise RiskError(f"summary: risk is {described(risk)}: write lf.EmpiricalRisk(...) or lf.Risk(function, params)")
    check_single("summary", risk, "summary(jax.tree.map(lambda x: x[i], flows), risk.condition(i)) for each i")
    return Overview(flow, risk)


def _distinct(flow: Any, risk: Any) -> tuple[Limits, ...]:
    verdict = np.atleast_1d(flow.verdict)
    has = np.isin(verdict, WITH_LIMIT)
    if not has.any():
        return ()
    limits = zip(risk.layers(flow.limit), risk.space.layer_shapes, strict=True)
    points = np.concatenate([np.reshape(w, (-1, math.prod(shape)))[has] for w, shape in limits], axis=1)
    values, filters = (np.asarray(x) for x in _evaluated(risk, points))
    filters, ends = filters.reshape(len(filters), -1), verdict[has]
    start = (np.atleast_1d(flow.risk) + np.atleast_1d(flow.energy))[has]
    above, order = above_lowest(values, start), np.argsort(values, kind="stable")
    if not is_composite(risk):  # risks are distinguished only if the difference exceeds rounding
        filters = above[:, None]
    found = []
    for group in grouped_by_filter(filters[order]):
        here = order[group]
        kinds = tuple(Verdict(int(code)) for code in np.unique(ends[here]))
        first = here[0]
        found.append(
            Limits(
                float(values[first]),
                len(here),
                kinds,
                filters[first] if is_composite(risk) else None,
                float(above[first]),
            )
        )
    return tuple(found)


@quick_to_compile
def _evaluated(risk: Any, points: Any) -> tuple[jax.Array, jax.Array]:
    """Risk and image of the raveled parameters; the risk in place of the image if there is none."""
    image = risk.image if is_composite(risk) else risk.value
    return jax.vmap(lambda w: (risk.value(w), image(w)))(jnp.asarray(points))
