"""Data of a configuration: synthetic (three independent choices: inputs, targets, corruption) or a file.

`[data]` needs a `kind`: "synthetic", "file" or "deblurring". A `label` is the name of the data on an axis over `data`;
it has no other effect.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from experiments.schema.numbers import Count, Fraction, Model, Natural, NonNegative, Number, Positive, Text

__all__ = ["Data", "DeblurringData", "FileData", "Inputs", "Outliers", "SyntheticData", "Targets"]


class White(Model):
    """Independent normal entries."""

    kind: Literal["white"]
    std: Positive = 1.0


class Autoregressive(Model):
    """Stationary AR(1) inputs with correlation `rho` between neighbours."""

    kind: Literal["autoregressive"]
    rho: Annotated[float, Strict(), Field(gt=-1, lt=1, allow_inf_nan=False)]


class Anisotropic(Model):
    """Inputs with exact second moments, the ratio of whose largest to smallest eigenvalue is `condition`."""

    kind: Literal["anisotropic"]
    condition: Annotated[float, Strict(), Field(ge=1, allow_inf_nan=False)]


class LowRank(Model):
    """Inputs in a random subspace of dimension `rank`."""

    kind: Literal["low_rank"]
    rank: Count


class MissingPatches(Model):
    """Inputs whose patch matrix is zero in the given taps."""

    kind: Literal["missing_patches"]
    taps: tuple[Annotated[int, Strict(), Field(ge=0)], ...] = Field(min_length=1)


class Windows(Model):
    """Windows of a real signal or photograph, `step` entries apart."""

    kind: Literal["windows"]
    signal: Literal["ecg", "climate", "camera", "ascent", "aero"]
    step: Count = 1


Inputs = Annotated[
    White | Autoregressive | Anisotropic | LowRank | MissingPatches | Windows,
    Field(discriminator="kind"),
]


class Planted(Model):
    """Targets made by random filters of the same architecture."""

    kind: Literal["planted"]
    std: Positive = 0.6


class Cascade(Model):
    """Targets made by the given filters, one list per layer."""

    kind: Literal["cascade"]
    filters: tuple[tuple[Number, ...], ...] = Field(min_length=1)


class EndToEnd(Model):
    """Targets made by the given end-to-end filter, attainable or not."""

    kind: Literal["filter"]
    values: tuple[Number, ...] = Field(min_length=1)


class Unrelated(Model):
    """Normal targets that are independent of the inputs."""

    kind: Literal["unrelated"]
    std: Positive = 1.0


class Labels(Model):
    """Labels -1 and 1 for margin losses: signs of the targets `source`; the fraction `flipped` of them is wrong."""

    kind: Literal["labels"]
    source: Annotated[Planted | Cascade | EndToEnd, Field(discriminator="kind")] = Planted(kind="planted")
    flipped: Fraction = 0.0


Targets = Annotated[Planted | Cascade | EndToEnd | Unrelated | Labels, Field(discriminator="kind")]


class Outliers(Model):
    """Impulsive noise: a `fraction` of the targets is hit, at `scale` times the rms of clean targets."""

    fraction: Fraction
    scale: Positive


_LONGEST_LABEL = 40  # characters that fit beside a figure


def _one_short_line(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST_LABEL or not text.isprintable() or "$" in text:
        raise ValueError(f'should be 1 to {_LONGEST_LABEL} printable characters without "$", and not blank')
    return text


Label = Annotated[Text, AfterValidator(_one_short_line)]


class SyntheticData(Model):
    """Synthetic inputs and targets; without `samples`, all windows of a signal are used."""

    kind: Literal["synthetic"]
    label: Label | None = None
    samples: Count | None = None
    inputs: Inputs
    targets: Targets
    noise: NonNegative = 0.0
    outliers: Outliers | None = None
    seed: Natural = 0

    @model_validator(mode="after")
    def _samples_known(self) -> "SyntheticData":
        if self.samples is None and not isinstance(self.inputs, Windows):
            raise ValueError(f'samples is missing; only inputs of kind "windows" do without, not "{self.inputs.kind}"')
        return self

    @model_validator(mode="after")
    def _labels_stay(self) -> "SyntheticData":
        if isinstance(self.targets, Labels) and (self.noise or self.outliers is not None):
            raise ValueError("labels are -1 or 1: leave noise and outliers out, and write targets.flipped instead")
        return self


class FileData(Model):
    """A .npz, .npy or .csv file for `lcnn_flow.data.load`; relative paths start at the folder of the configuration.

    `inputs` and `targets` are names of arrays of an .npz file; `split` is the number of input columns of other files.
    """

    kind: Literal["file"]
    label: Label | None = None
    path: Text
    inputs: Text | None = None
    targets: Text | None = None
    split: Count | None = None


class DeblurringData(Model):
    """Windows of a blurred photograph as inputs, and the middle of the same windows of the sharp one as targets.

    `blur` is the standard deviation of the Gaussian blur in pixels. `noise` is the standard deviation of white noise on
    the blurred photograph, relative to that of the sharp one. All samples are from the lower half of the photograph.
    """

    kind: Literal["deblurring"]
    label: Label | None = None
    photograph: Literal["camera", "ascent", "aero"] = "camera"
    samples: Count
    blur: Positive
    noise: NonNegative = 0.0
    seed: Natural = 0


Data = Annotated[SyntheticData | FileData | DeblurringData, Field(discriminator="kind")]
