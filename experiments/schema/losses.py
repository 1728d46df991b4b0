"""Losses of a configuration: `[loss] kind = "..."` and its numbers.

`changes_program` names the numbers that are part of the compiled program; the others are data of it, so
that an axis over them compiles once.
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


class Square(Model):
    """rho(r) = r^2 / 2."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["square"]


class Lp(Model):
    """rho(r) = |r|^p / p, p > 1."""

    changes_program: ClassVar[tuple[str, ...]] = ("p",)
    kind: Literal["lp"]
    p: Annotated[float, Strict(), Field(gt=1, le=64, allow_inf_nan=False)]


class PseudoHuber(Model):
    """rho(r) = delta^2 (sqrt(1 + (r/delta)^2) - 1)."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["pseudo_huber"]
    delta: Positive


class GeneralizedHuber(Model):
    """rho(r) = (1/a) log((e^{ar} + e^{-ar} + b) / (2 + b)), b > -2."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["generalized_huber"]
    a: Positive
    b: Annotated[float, Strict(), Field(gt=-2, allow_inf_nan=False)]


class LogCosh(Model):
    """rho(r) = (1/a) log cosh(ar)."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["log_cosh"]
    a: Positive


class Huber(Model):
    """r^2/2 up to |r| = delta, straight beyond; C^1, past the theory."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["huber"]
    delta: Positive


class Cauchy(Model):
    """rho(r) = (delta^2/2) log(1 + (r/delta)^2); not convex."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["cauchy"]
    delta: Positive


class Welsch(Model):
    """rho(r) = (delta^2/2) (1 - e^{-(r/delta)^2}); bounded."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["welsch"]
    delta: Positive


class GemanMcClure(Model):
    """rho(r) = (r^2/2) / (1 + (r/delta)^2); bounded."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["geman_mcclure"]
    delta: Positive


class SmoothQuantile(Model):
    """Smoothed quantile loss of the level tau, nearly straight beyond |r| = delta; its minimum is 0."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["smooth_quantile"]
    tau: Annotated[float, Strict(), Field(gt=0, lt=1, allow_inf_nan=False)]
    delta: Positive


class Logistic(Model):
    """log(1 + e^{-z}) of the margin z = target * prediction, for targets -1 and 1."""

    changes_program: ClassVar[tuple[str, ...]] = ()
    kind: Literal["logistic"]


class Exponential(Model):
    """e^{-z} of the margin z = target * prediction, for targets -1 and 1."""

    changes_program: ClassVar[tuple[str, ...]] = ()
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
