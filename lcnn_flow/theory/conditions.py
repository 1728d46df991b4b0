"""Which hypotheses of the convergence theory a problem satisfies, with the numbers that decide it.

The data conditions form a ladder. X holds the samples as columns, P is the patch matrix, M the set of attainable
end-to-end filters v = pi(w):

    (A) X X^T has full rank  =>  (B) P has full column rank  =>  (C) ker P meets M only in 0.

Under (C) and a coercive loss the end-to-end filter, and with it every filter (`norm_bound`), stays bounded; the
Lojasiewicz inequality of an analytic or definable loss then gives convergence to a critical point (Diederen, Rauhut,
Terstiege, arXiv 2601.08547, for the claim; derived, for the ladder).
"""

import math
from dataclasses import dataclass

import numpy as np

from lcnn_flow.losses.base import Loss, LossTheory
from lcnn_flow.losses.named import Lp
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.forward import patches
from lcnn_flow.numerics.rank import above_rounding
from lcnn_flow.risk.bounds import mahler_constant
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.linear import check_linear
from lcnn_flow.theory.attainable import ROUNDING, ROUNDS, STARTS, attainable_minimum, attainable_zero
from lcnn_flow.theory.exclusion import excluded_angle

__all__ = ["Hypotheses", "hypotheses"]


@dataclass(frozen=True)
class Hypotheses:
    """Hypotheses of the convergence theory; `print` it for a summary. `None` stands for "not decided".

    Singular values are in units of the inputs; those of X and P count as 0 up to max(shape) * eps times the largest.
    """

    inputs_smallest: float
    """Smallest singular value of X, (c_0 d_0, m); 0 if there are fewer samples than rows."""
    inputs_largest: float
    """Largest singular value of X."""
    patches_smallest: float
    """Smallest singular value of P, (m d_N, q); 0 if it has fewer rows than columns."""
    patches_largest: float
    """Largest singular value of P."""
    attainable_smallest: float | None
    """Smallest |P v| found over attainable filters with |v| = 1: an upper bound of the minimum. None with channels."""
    attainable_at_least: float | None
    """Lower bound of |P v| over attainable filters with |v| = 1, where one is proved, else 0. None with channels."""
    starts: int
    """Number of starts of the search for an attainable filter in ker P."""
    full_rank_inputs: bool
    """(A) X X^T has full rank."""
    full_rank_patches: bool
    """(B) P has full column rank."""
    injective_on_attainable: bool | None
    """(C) ker P meets the attainable filters only in 0. True: proved; False: a filter was found; None: neither."""
    loss_name: str
    """The loss, with its numbers."""
    loss: LossTheory
    """What is known of the loss."""
    definable: bool | None
    """rho is analytic or definable in an o-minimal structure, so that a Lojasiewicz inequality is available."""
    single_channel: bool
    """The network is the single-channel one of the theory."""

    @property
    def holds(self) -> bool | None:
        """Whether (C), coercivity and definability all hold; False if (C) or coercivity fails, else None.

        None with channels, to which the statement does not extend.
        """
        needed = (self.injective_on_attainable, self.loss.coercive, self.definable)
        if False in needed:
            return False
        return None if None in needed or not self.single_channel else True

    def __str__(self) -> str:
        conclusion = {
            True: "the hypotheses of convergence to a critical point hold",
            False: "the hypotheses of convergence to a critical point fail: filters may diverge",
            None: "the hypotheses of convergence to a critical point are not decided",
        }[self.holds]
        known = (("analytic", self.loss.analytic), ("convex", self.loss.convex), ("coercive", self.loss.coercive))
        facts = ", ".join(f"{name}: {_WORDS[value]}" for name, value in known)
        inputs = f"singular values {self.inputs_smallest:.3g} to {self.inputs_largest:.3g}"
        windows = f"singular values {self.patches_smallest:.3g} to {self.patches_largest:.3g}"
        lines = [
            f"(A) inputs X X^T of full rank: {_WORDS[self.full_rank_inputs]} ({inputs})",
            f"(B) patch matrix P of full column rank: {_WORDS[self.full_rank_patches]} ({windows})",
            f"(C) no attainable filter but 0 in ker P: {_WORDS[self.injective_on_attainable]} ({self._reason()})",
            f"loss {self.loss_name}: {facts}" + (f"; {self.loss.remark}" if self.loss.remark else ""),
            f"=> {conclusion}" + ("" if self.single_channel else " (the theory is for a single channel)"),
        ]
        return "\n".join(lines)

    def _reason(self) -> str:
        if self.attainable_smallest is None:
            return "follows from (B)" if self.full_rank_patches else "with channels only (B) decides it"
        found = f"smallest |P v|/|v| found {self.attainable_smallest:.3g}"
        if self.full_rank_patches:
            return f"{found}; follows from (B)"
        if self.injective_on_attainable is None:
            return f"{found}; a zero was not found from {self.starts} starts, not excluded"
        if self.injective_on_attainable:
            return f"{found}; proved to be at least {self.attainable_at_least:.3g}"
        return f"{found}: zero to rounding"


_WORDS = {True: "yes", False: "no", None: "not decided"}


def hypotheses(risk: EmpiricalRisk) -> Hypotheses:
    """Checks the hypotheses of the convergence theory on concrete data; host side.

    The samples count without their weights, except that samples of weight zero do not count at all: positive
    weights change the singular values but not which conditions hold. (A) and (B) are decided by singular values;
    (A) implies (B), whatever the thresholds say. (C) follows from (B). Otherwise it fails if a search, with fixed
    starts, finds an attainable v that P sends to 0 to rounding: |(P v)_i| at most 10 k_v eps |P_i| . |w_1| * ... *
    |w_N| for every row P_i, in which rows within rounding of the largest singular value count as 0. It holds if
    balls without attainable filters cover the unit sphere of ker P, which is tried for dimensions up to 3. If
    neither succeeds, (C) is not decided: a search that found nothing is no proof. With channels only (B) decides
    (C).

    Args:
        risk: a single risk of a linear network, with concrete data.

    Returns:
        `Hypotheses`: each one proved, refuted or not decided, with the numbers that decide.

    Raises:
        RiskError: a batch of risks, or a network that is not linear.
    """
    check_linear("hypotheses", risk, "hypotheses(risk.condition(i)) for each i")
    arch, data = risk.arch, risk.data
    counts = np.ones(data.num_samples, bool) if data.weights is None else np.asarray(data.weights) > 0
    inputs = np.asarray(data.inputs)[counts]
    windows = np.asarray(patches(arch, inputs.reshape(len(inputs), *arch.sample_shape)))  # of `Dense`: length 1
    rows = windows.reshape(-1, windows.shape[-1])
    eps = float(np.finfo(rows.dtype).eps)
    inputs_smallest, inputs_largest, full_inputs = _rank(inputs.reshape(len(inputs), -1))
    patches_smallest, patches_largest, full_patches = _rank(rows)
    full_patches = full_patches or full_inputs
    single = arch.channels is None
    found = at_least = None
    injective = True if full_patches else None
    if single and full_patches:
        found, at_least = max(attainable_minimum(arch, rows), patches_smallest), patches_smallest
    elif single:
        found, at_least, injective = _on_attainable(arch, rows, patches_largest, eps)
    theory = risk.loss.theory
    definable = True if theory.analytic or theory.definable or isinstance(risk.loss, Lp) else None
    return Hypotheses(
        inputs_smallest=inputs_smallest,
        inputs_largest=inputs_largest,
        patches_smallest=patches_smallest,
        patches_largest=patches_largest,
        attainable_smallest=found,
        attainable_at_least=at_least,
        starts=ROUNDS * STARTS,
        full_rank_inputs=full_inputs,
        full_rank_patches=full_patches,
        injective_on_attainable=injective,
        loss_name=_loss_name(risk.loss),
        loss=theory,
        definable=definable,
        single_channel=single,
    )


def _on_attainable(
    arch: Architecture, rows: np.ndarray, largest: float, eps: float
) -> tuple[float, float, bool | None]:
    """(smallest |P v|/|v| found, proved lower bound or 0, whether (C) holds) for P without full column rank."""
    rows = rows.astype(float)
    relative = max(rows.shape) * eps
    sizes = np.linalg.norm(rows, axis=1)
    kept = sizes > relative * largest
    scaled = rows[kept] / sizes[kept, None]  # the same kernel
    values, right = np.linalg.svd(np.linalg.qr(scaled, mode="r"), full_matrices=True)[1:]
    rank = int(np.sum(values > relative * np.max(values, initial=0)))
    kernel = right[rank:].T
    found = attainable_minimum(arch, rows)
    zero = attainable_zero(arch, scaled, kernel, eps)
    if zero is not None:
        return min(found, float(np.linalg.norm(rows @ zero))), 0.0, False
    if rank == rows.shape[1]:  # the columns are dependent only to rounding of the largest rows
        return found, 0.0, None
    # sine of the angle up to which a filter counts as zero, and by which the computed kernel may be off
    cancellation = mahler_constant(arch) * math.sqrt(math.prod(math.prod(k) for k in arch.kernel_sizes))
    rounding = (ROUNDING * rows.shape[1] * cancellation + max(rows.shape)) * eps
    blur = rounding * math.sqrt(len(scaled)) / values[rank - 1]
    angle = excluded_angle(arch, kernel, needed=2 * blur)
    stretch = np.linalg.svd(rows @ right[:rank].T, compute_uv=False)[-1]
    at_least = float(stretch * (angle - blur) - relative * largest)
    return (found, at_least, True) if at_least > 0 else (found, 0.0, None)


def _loss_name(loss: Loss) -> str:
    """The text of the loss, with plain numbers instead of arrays."""
    numbers = {name: getattr(loss, name) for name in loss.parameters}
    shown = [f"{name}={value if callable(value) else f'{float(value):g}'}" for name, value in numbers.items()]
    return f"{type(loss).__name__}({', '.join(shown)})"


def _rank(matrix: np.ndarray) -> tuple[float, float, bool]:
    """(smallest, largest) singular value for the columns, and whether they are independent to rounding."""
    values = np.linalg.svd(matrix, compute_uv=False)
    smallest = float(values[-1]) if matrix.shape[0] >= matrix.shape[1] else 0.0
    largest = float(values[0])
    return smallest, largest, matrix.shape[0] >= matrix.shape[1] and bool(above_rounding(values, max(matrix.shape))[-1])
