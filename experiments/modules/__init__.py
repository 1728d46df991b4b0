"""Experiment modules by name; a new one is a file here and an entry in `MODULES`."""

from experiments.modules.activations import ACTIVATIONS
from experiments.modules.base import Module, unchanged
from experiments.modules.bounds import BOUNDS
from experiments.modules.conditions import CONDITIONS
from experiments.modules.conservation import CONSERVATION
from experiments.modules.convergence import CONVERGENCE
from experiments.modules.dense_vs_convolution import DENSE_VS_CONVOLUTION
from experiments.modules.edge_of_stability import EDGE_OF_STABILITY
from experiments.modules.flow_vs_descent import FLOW_VS_DESCENT
from experiments.modules.identification import IDENTIFICATION
from experiments.modules.imaging import IMAGING
from experiments.modules.imbalance import IMBALANCE
from experiments.modules.landscape import LANDSCAPE
from experiments.modules.lazy_and_rich import LAZY_AND_RICH
from experiments.modules.rates import RATES
from experiments.modules.repeated_filters import REPEATED_FILTERS
from experiments.modules.robustness import ROBUSTNESS
from experiments.modules.saddle_to_saddle import SADDLE_TO_SADDLE
from experiments.modules.separable import SEPARABLE
from experiments.modules.spurious_minima import SPURIOUS_MINIMA
from experiments.modules.strides import STRIDES
from experiments.modules.tuning import TUNING

__all__ = ["MODULES", "Module", "unchanged"]

_ALL = (
    *(CONVERGENCE, CONDITIONS, IDENTIFICATION, TUNING),
    *(SPURIOUS_MINIMA, LANDSCAPE, STRIDES, RATES, REPEATED_FILTERS, IMBALANCE, BOUNDS, SADDLE_TO_SADDLE),
    *(ROBUSTNESS, IMAGING, FLOW_VS_DESCENT, EDGE_OF_STABILITY, ACTIVATIONS, DENSE_VS_CONVOLUTION),
    *(SEPARABLE, CONSERVATION, LAZY_AND_RICH),
)

MODULES: dict[str, Module] = {module.name: module for module in _ALL}
