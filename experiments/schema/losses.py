"""Losses of a configuration: `[loss] kind = "..."` and its numbers.

Most numbers of a loss are arguments of the compiled program, so that an axis over them compiles once. Those that are
part of the program are named in `changes_program`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from experiments.schema.numbers import Model, Positive

__all__ = [
    "Cauchy",
    "Exponential",
    "GemanMcClure",
    "GeneralizedHuber",
    "Huber",
    "LogCosh",
    "Logistic",
    "Loss",
    "Lp",
    "PseudoHuber",
    "SmoothQuantile",
    "Square",
    "Welsch",
]


class _Loss(Model):
    """Base of the losses."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    """Names of the numbers that are part of the compiled program."""


class Square(_Loss):
    """rho(r) = r^2 / 2."""

    kind: Literal["square"]


class Lp(_Loss):
    """rho(r) = |r|^p / p, p > 1."""

    changes_program: ClassVar[tuple[str, ...]] = ("p",)
    kind: Literal["lp"]
    p: Annotated[float, Strict(), Field(gt=1, le=64, allow_inf_nan=False)]


class PseudoHuber(_Loss):
    """rho(r) = delta^2 (sqrt(1 + (r/delta)^2) - 1)."""

    kind: Literal["pseudo_huber"]
    delta: Positive


class GeneralizedHuber(_Loss):
    """rho(r) = (1/a) log((e^{ar} + e^{-ar} + b) / (2 + b)), b > -2."""

    kind: Literal["generalized_huber"]
    a: Positive
    b: Annotated[float, Strict(), Field(gt=-2, allow_inf_nan=False)]


class LogCosh(_Loss):
    """rho(r) = (1/a) log cosh(ar)."""

    kind: Literal["log_cosh"]
    a: Positive


class Huber(_Loss):
    """r^2/2 up to |r| = delta, straight beyond; C^1, past the theory."""

    kind: Literal["huber"]
    delta: Positive


class Cauchy(_Loss):
    """rho(r) = (delta^2/2) log(1 + (r/delta)^2); not convex."""

    kind: Literal["cauchy"]
    delta: Positive


class Welsch(_Loss):
    """rho(r) = (delta^2/2) (1 - e^{-(r/delta)^2}); bounded."""

    kind: Literal["welsch"]
    delta: Positive


class GemanMcClure(_Loss):
    """rho(r) = (r^2/2) / (1 + (r/delta)^2); bounded."""

    kind: Literal["geman_mcclure"]
    delta: Positive


class SmoothQuantile(_Loss):
    """Smoothed quantile loss of the level tau, nearly straight beyond |r| = delta; its minimum is 0."""

    kind: Literal["smooth_quantile"]
    tau: Annotated[float, Strict(), Field(gt=0, lt=1, allow_inf_nan=False)]
    delta: Positive


class Logistic(_Loss):
    """log(1 + e^{-z}) of the margin z = target * prediction, for targets -1 and 1."""

    kind: Literal["logistic"]


class Exponential(_Loss):
    """e^{-z} of the margin z = target * prediction, for targets -1 and 1."""

    kind: Literal["exponential"]


Loss = Annotated[
    Square
    | Lp
    | PseudoHuber
    | GeneralizedHuber
    | LogCosh
    | Huber
    | Cauchy
    | Welsch
    | GemanMcClure
    | SmoothQuantile
    | Logistic
    | Exponential,
    Field(discriminator="kind"),
]
