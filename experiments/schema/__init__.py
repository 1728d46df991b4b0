"""Configurations as frozen pydantic models."""

from experiments.schema.configuration import Configuration
from experiments.schema.data import FileData, SyntheticData
from experiments.schema.losses import Loss, Lp

__all__ = ["Configuration", "FileData", "Loss", "Lp", "SyntheticData"]
