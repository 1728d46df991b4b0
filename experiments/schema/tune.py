"""The section `[tune]` of a configuration, for the module "tuning"."""

from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator

from experiments.schema.numbers import Model, Positive

__all__ = ["Tune"]


class Tune(Model):
    """Steps of Adam, and the parameters that it tunes: numbers of the loss by key, and the weights of the samples."""

    iterations: Annotated[int, Strict(), Field(ge=1, le=100_000)]
    learning_rate: Positive = 0.1
    parameters: tuple[Literal["weights", "loss.delta", "loss.a", "loss.b"], ...]

    @field_validator("parameters")
    @classmethod
    def _named_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError('name at least one, such as "weights"')
        if len(set(names)) < len(names):
            raise ValueError("a name occurs twice; write it once")
        return names
