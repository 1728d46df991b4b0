"""Configurations as frozen pydantic models."""

from experiments.schema.configuration import Configuration
from experiments.schema.data import DeblurringData, FileData, SyntheticData
from experiments.schema.losses import Loss, Lp

__all__ = ["Configuration", "DeblurringData", "FileData", "Loss", "Lp", "SyntheticData"]
