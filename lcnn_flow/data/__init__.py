"""Data sets and their sources: synthesis from three independent choices, real signals, and files.

INPUTS      White, Autoregressive, Anisotropic, LowRank, MissingPatches, Windows
TARGETS     Planted, Cascade, Filter, Unrelated, Labels
CORRUPTION  noise, Outliers
"""

from lcnn_flow.data.corruption import Outliers
from lcnn_flow.data.dataset import Dataset
from lcnn_flow.data.files import load
from lcnn_flow.data.inputs import Anisotropic, Autoregressive, InputSource, LowRank, MissingPatches, White, Windows
from lcnn_flow.data.signals import climate, ecg, photograph
from lcnn_flow.data.synthesis import synthesize
from lcnn_flow.data.targets import Cascade, Filter, Labels, Planted, TargetSource, Unrelated

__all__ = [
    "Anisotropic",
    "Autoregressive",
    "Cascade",
    "Dataset",
    "Filter",
    "InputSource",
    "Labels",
    "LowRank",
    "MissingPatches",
    "Outliers",
    "Planted",
    "TargetSource",
    "Unrelated",
    "White",
    "Windows",
    "climate",
    "ecg",
    "load",
    "photograph",
    "synthesize",
]
