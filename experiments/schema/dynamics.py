"""The dynamics of the parameters: `[dynamics] kind = "flow"` (the default), or `"descent"` by an optimiser of optax.

The options of flows are in `[flow]`; descents use gradient_rtol, gradient_atol and norm_bound of them. The numbers of
an optimiser are arguments of its compiled program, so that an axis over them compiles once.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, Strict, model_validator

from experiments.schema.numbers import Count, Model, Natural, NonNegative, Positive

__all__ = ["Descent", "Dynamics", "GradientFlow", "Optimizer"]

_Decay = Annotated[float, Strict(), Field(ge=0, lt=1, allow_inf_nan=False)]
_MOST_RECORDS = 100_000
_Kind = TypeVar("_Kind", bound=str)


class _Optimizer(Model, Generic[_Kind]):
    """Base of the optimisers."""

    kind: _Kind
    learning_rate: Positive


class _WithMomentum(_Optimizer[_Kind]):
    """Base of the optimisers that accumulate gradients."""

    momentum: _Decay = 0.9


class _WithMoments(_Optimizer[_Kind]):
    """Base of the optimisers that estimate the first two moments of the gradient, with decay rates b1 and b2."""

    b1: _Decay = 0.9
    b2: _Decay = 0.999
    eps: Positive = 1e-8


class Sgd(_Optimizer[Literal["sgd"]]):
    """Gradient descent: w' = w - learning_rate g."""


class Momentum(_WithMomentum[Literal["momentum"]]):
    """Heavy ball: m' = momentum m + g, w' = w - learning_rate m'."""


class Nesterov(_WithMomentum[Literal["nesterov"]]):
    """Nesterov's momentum."""


class Adam(_WithMoments[Literal["adam"]]):
    """Adam (Kingma and Ba 2015)."""


class Nadam(_WithMoments[Literal["nadam"]]):
    """Adam with Nesterov's momentum (Dozat 2016)."""


class Adamw(_WithMoments[Literal["adamw"]]):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), whose fixed points are not critical points."""

    weight_decay: NonNegative = 1e-4


class Rmsprop(_Optimizer[Literal["rmsprop"]]):
    """RMSProp (Hinton 2012)."""

    decay: _Decay = 0.9
    eps: Positive = 1e-8


class Adagrad(_Optimizer[Literal["adagrad"]]):
    """AdaGrad (Duchi, Hazan and Singer 2011)."""


class Lion(_Optimizer[Literal["lion"]]):
    """Lion (Chen et al. 2023) without weight decay: in each step all entries change by the learning rate."""

    b1: _Decay = 0.9
    b2: _Decay = 0.99


Optimizer = Annotated[
    Sgd | Momentum | Nesterov | Adam | Nadam | Adamw | Rmsprop | Adagrad | Lion,
    Field(discriminator="kind"),
]


class GradientFlow(Model):
    """w' = -grad L(w), with the options of `[flow]`."""

    kind: Literal["flow"]


class Descent(Model):
    """Arguments of `lcnn_flow.gradient_descent_ensemble`.

    The start and every `record_every`-th step are stored; without `record_every`, the start and the end. With
    `batch_size` every step uses a minibatch, drawn with the random key of `seed`.
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
