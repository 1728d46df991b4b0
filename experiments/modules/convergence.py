"""Does gradient flow converge, and as the theory says? For any network, data, loss and initialisation."""

from experiments.figures import (
    balancedness_drift,
    excess_risk,
    filters,
    fit,
    gradient_norm,
    path_length,
    risk,
    root_paths,
    roots,
    spectrum,
)
from experiments.modules.base import Module
from experiments.questions import QUESTIONS

__all__ = ["CONVERGENCE"]

CONVERGENCE = Module(
    name="convergence",
    question=QUESTIONS["convergence"],
    theory=(
        "For a linear convolutional network and data that satisfy a full-rank condition, gradient flow of "
        "the empirical risk converges to a critical point for the square loss, l_p losses, pseudo-Huber, "
        "generalised Huber and log-cosh: the risk decreases, the filters stay bounded, the path has finite "
        "length and the gradient tends to zero (Diederen, Rauhut, Terstiege, arXiv:2601.08547). On the way "
        "the balancedness of neighbouring layers is conserved exactly."
    ),
    axes={
        "loss": "which losses are compared",
        "initializer.std": "size of the initial filters",
        "data.noise": "noise in the targets",
        "network.kernel_sizes": "other architectures (each compiles anew)",
    },
    figures=(
        fit,
        excess_risk,
        risk,
        filters,
        roots,
        root_paths,
        spectrum,
        gradient_norm,
        path_length,
        balancedness_drift,
    ),
)
