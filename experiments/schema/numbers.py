"""Field types and the base model of configurations: frozen, no unknown keys, no silent conversions.

TOML has types of its own, so a string never passes for a number, nor 1.0 for a count, and NaN and infinity
are refused everywhere.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict

__all__ = ["Count", "Model", "Natural", "NonNegative", "Number", "Positive", "Text"]

Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Strict(), Field(ge=1, le=10**9)]
Natural = Annotated[int, Strict(), Field(ge=0, lt=2**32)]
Text = Annotated[str, Strict()]


class Model(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
