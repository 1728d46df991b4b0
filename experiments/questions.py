"""The question that each experiment module asks, for every configuration that does not ask its own."""

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "convergence": "Does gradient flow converge to a critical point of the empirical risk, along a finite path?",
    "conditions": "Do the full-rank conditions on the data decide whether gradient flow converges?",
    "identification": "Which loss finds an unknown filter best from noisy targets, and does every flow converge?",
    "tuning": "Which loss parameter and which sample weights bring the limit of the flow nearest to the true filter?",
    "flow_vs_descent": "How far does gradient descent go from the gradient flow, and does that follow the step size?",
    "edge_of_stability": "How sharp are the minima at which gradient descent comes to rest, beside those of the flow?",
    "activations": "Do flows of networks with these activations come to a limit, and what do they conserve on the way?",
    "dense_vs_convolution": "Do dense and convolutional networks have spurious minima on the same data?",
}
"""By the name of the module."""
