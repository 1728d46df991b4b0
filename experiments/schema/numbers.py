"""Field types and the base model of configurations: frozen, without unknown keys and silent conversions.

TOML has types of its own. Therefore a string is not accepted as a number, nor 1.0 as a count; NaN and infinity are
refused everywhere.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

__all__ = ["Count", "Fraction", "Model", "Natural", "NonNegative", "Number", "Positive", "Text", "hashable"]

Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Strict(), Field(ge=1, le=10**9)]
Natural = Annotated[int, Strict(), Field(ge=0, lt=2**32)]
Text = Annotated[str, Strict()]


class Model(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def hashable(model: Model) -> Any:
    """The model itself, as a key of a cache: frozen models can be hashed, which type checkers do not know."""
    return model
