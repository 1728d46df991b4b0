"""What moves the parameters: `[dynamics] kind = "flow"` (the default) or `"descent"` by an optimiser of optax.

The options of flows stand in `[flow]`, of which descents share gradient_rtol, gradient_atol and norm_bound. The numbers
of an optimiser are arguments of its compiled program: an axis over them compiles once.
"""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from experiments.schema.numbers import Count, Model, Natural, NonNegative, Positive

__all__ = ["Descent", "Dynamics", "GradientFlow", "Optimizer"]

_Share = Annotated[float, Strict(), Field(ge=0, lt=1, allow_inf_nan=False)]
_MOST_RECORDS = 100_000


class Sgd(Model):
    """w - learning_rate g: gradient descent."""

    kind: Literal["sgd"]
    learning_rate: Positive


class Momentum(Model):
    """Heavy ball: m' = momentum m + g, w - learning_rate m'."""

    kind: Literal["momentum"]
    learning_rate: Positive
    momentum: _Share = 0.9


class Nesterov(Model):
    """Nesterov's momentum."""

    kind: Literal["nesterov"]
    learning_rate: Positive
    momentum: _Share = 0.9


class Adam(Model):
    """Adam (Kingma and Ba 2015)."""

    kind: Literal["adam"]
    learning_rate: Positive
    b1: _Share = 0.9
    b2: _Share = 0.999
    eps: Positive = 1e-8


class Nadam(Model):
    """Adam with Nesterov's momentum (Dozat 2016)."""

    kind: Literal["nadam"]
    learning_rate: Positive
    b1: _Share = 0.9
    b2: _Share = 0.999
    eps: Positive = 1e-8


class Adamw(Model):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): its rest points are not critical points."""

    kind: Literal["adamw"]
    learning_rate: Positive
    b1: _Share = 0.9
    b2: _Share = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 1e-4


class Rmsprop(Model):
    """RMSProp (Hinton 2012)."""

    kind: Literal["rmsprop"]
    learning_rate: Positive
    decay: _Share = 0.9
    eps: Positive = 1e-8


class Adagrad(Model):
    """AdaGrad (Duchi, Hazan and Singer 2011)."""

    kind: Literal["adagrad"]
    learning_rate: Positive


class Lion(Model):
    """Lion (Chen et al. 2023), without weight decay: steps of one size in every entry."""

    kind: Literal["lion"]
    learning_rate: Positive
    b1: _Share = 0.9
    b2: _Share = 0.99


Optimizer = Annotated[
    Sgd | Momentum | Nesterov | Adam | Nadam | Adamw | Rmsprop | Adagrad | Lion,
    Field(discriminator="kind"),
]


class GradientFlow(Model):
    """w' = -grad L(w), with the options of `[flow]`."""

    kind: Literal["flow"]


class Descent(Model):
    """Arguments of `lcnn_flow.gradient_descent_ensemble`.

    The start, every `record_every`-th step and the last are stored; without it start and end alone. With `batch_size`
    the steps are those of minibatches, drawn from `seed`.
    """

    kind: Literal["descent"]
    optimizer: Optimizer
    steps: Count
    record_every: Count | None = None
    batch_size: Count | None = None
    seed: Natural = 0

    @model_validator(mode="after")
    def _records_fit(self) -> "Descent":
        every = self.record_every or self.steps
        if self.steps % every:
            nearest = -(-self.steps // every) * every
            raise ValueError(f"steps = {self.steps} is no multiple of record_every = {every}: write steps = {nearest}")
        if self.records > _MOST_RECORDS:
            raise ValueError(f"{self.records} records per descent, and at most {_MOST_RECORDS}: raise record_every")
        return self

    @property
    def records(self) -> int:
        """Number of stored points of a descent, the start included."""
        return self.steps // (self.record_every or self.steps) + 1


Dynamics = Annotated[GradientFlow | Descent, Field(discriminator="kind")]
