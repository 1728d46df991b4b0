"""The configuration of an experiment, as it is written in a TOML file.

It consists of `seeds` and `root_seed` outside all sections, and of the sections `[experiment]`, `[network]`, `[data]`,
`[loss]`, `[initializer]`, `[dynamics]`, `[flow]`, `[analysis]`, `[compute]`, `[tune]` (module "tuning" only) and
`[sweep]`. In `[sweep]` every key with a list of values is an axis, and so is every table `[[sweep.zip]]`, whose keys
vary together; `experiments.sweeps` makes cells of them, and the models here describe one cell.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator

from experiments.schema.data import Data
from experiments.schema.dynamics import Descent, Dynamics
from experiments.schema.losses import Loss
from experiments.schema.network import Network
from experiments.schema.numbers import Count, Model, Natural, NonNegative, Number, Positive, Text
from experiments.schema.tune import Tune

__all__ = ["Analysis", "Compute", "Configuration", "Experiment", "Flow", "Initializer", "Times"]


class Experiment(Model):
    """The module that asks the question; title and question of the report."""

    module: Text
    title: Text | None = None
    question: Text | None = None


class Gaussian(Model):
    """Independent normal entries in every filter."""

    kind: Literal["gaussian"]
    std: Positive


class Balanced(Model):
    """Random directions, equal norms."""

    kind: Literal["balanced"]
    std: Positive


class Imbalanced(Model):
    """Random directions; norms fall geometrically from the first filter to the last, `ratio` being first over last."""

    kind: Literal["imbalanced"]
    std: Positive
    ratio: Positive


class Orthogonal(Model):
    """Orthogonal filters times `gain`."""

    kind: Literal["orthogonal"]
    gain: Positive = 1.0


class FanIn(Model):
    """Independent normal entries of variance gain^2 over the number of inputs of a unit."""

    kind: Literal["fan_in"]
    gain: Positive = 1.0


class Scaled(Model):
    """Random directions with the given norms, one per layer."""

    kind: Literal["scaled"]
    norms: tuple[NonNegative, ...] = Field(min_length=1)


class Constant(Model):
    """The given filters, one list per layer, for every seed."""

    kind: Literal["constant"]
    filters: tuple[tuple[Number, ...], ...] = Field(min_length=1)


Initializer = Annotated[
    Gaussian | FanIn | Balanced | Imbalanced | Orthogonal | Scaled | Constant,
    Field(discriminator="kind"),
]


class Times(Model):
    """Geometric times at which trajectories are stored, in units of flow time; t = 0 is added."""

    start: Positive
    stop: Positive
    count: Annotated[int, Strict(), Field(ge=2, le=100_000)]

    @model_validator(mode="after")
    def _ordered(self) -> "Times":
        if self.stop <= self.start:
            raise ValueError(f"stop = {self.stop:g} must be larger than start = {self.start:g}")
        return self


_Tolerance = Annotated[float, Strict(), Field(gt=0, lt=1, allow_inf_nan=False)]


class Flow(Model):
    """Options of `lcnn_flow.gradient_flow`; missing options have the defaults of the library."""

    times: Times | None = None
    rtol: _Tolerance | None = None
    atol: Positive | None = None
    gradient_rtol: _Tolerance | None = None
    gradient_atol: NonNegative | None = None
    max_time: Positive | None = None
    max_steps: Count | None = None
    norm_bound: Positive | None = None
    polish: Annotated[bool, Strict()] = True

    @model_validator(mode="after")
    def _reaches_times(self) -> "Flow":
        if self.times is not None and self.max_time is not None and self.max_time < self.times.stop:
            raise ValueError(f"max_time = {self.max_time:g} ends before times.stop = {self.times.stop:g}")
        return self


class Analysis(Model):
    """Analysis of the limits.

    Attributes:
        certify: number of limits per cell for which certificates are computed; by default 8 for linear networks, and 0
            for others, for which a proof takes about a second.
        census: whether all critical points of every cell are found (`lcnn_flow.census`), and for every flow the point
            at which it ends.
        sharpness: whether the largest eigenvalue of the Hessian is stored along the trajectories.
    """

    certify: Natural | None = None
    census: Annotated[bool, Strict()] = False
    sharpness: Annotated[bool, Strict()] = False


class Compute(Model):
    """How the results are computed; except for the precision, these settings change results only by rounding.

    Attributes:
        precision: of all numbers.
        block_size: argument of `lcnn_flow.gradient_flow_ensemble`.
        batch_size: number of seeds that are computed and stored together.
        retries: how often a batch that failed is tried again.
    """

    precision: Literal["float64", "float32"] = "float64"
    block_size: Count | None = None
    batch_size: Count | None = None
    retries: Annotated[int, Strict(), Field(ge=0, le=100)] = 1


class Configuration(Model):
    """One cell of the sweep: an experiment without its axes."""

    seeds: Annotated[int, Strict(), Field(ge=1, le=10**7)]
    root_seed: Natural = 0
    experiment: Experiment
    network: Network
    data: Data
    loss: Loss
    initializer: Initializer
    dynamics: Dynamics | None = None
    """None means gradient flow."""
    flow: Flow = Flow()
    analysis: Analysis = Analysis()
    compute: Compute = Compute()
    tune: Tune | None = None

    @property
    def descent(self) -> Descent | None:
        """The settings of descents; None if flows are computed."""
        return self.dynamics if isinstance(self.dynamics, Descent) else None

    @property
    def records(self) -> int:
        """Number of stored points of a trajectory, the start included; 0 without trajectories."""
        if self.descent is not None:
            return self.descent.records
        return 0 if self.flow.times is None else self.flow.times.count + 1

    @property
    def certificates(self) -> int | None:
        """Number of limits of a cell for which certificates are computed; None if none were asked for and the network
        is not linear."""
        if self.analysis.certify is not None:
            return self.analysis.certify
        return 8 if self.network.is_linear else None

    def plain(self) -> dict[str, Any]:
        """The configuration as tables, lists and scalars for TOML, without missing options."""
        return self.model_dump(mode="json", exclude_none=True)
