"""The question that each experiment module asks, for every configuration that does not ask its own."""

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "convergence": "Does gradient flow converge to a critical point of the empirical risk, along a finite path?",
    "conditions": "Do the full-rank conditions on the data decide whether gradient flow converges?",
    "identification": "Which loss finds an unknown filter best from noisy targets, and does every flow converge?",
    "tuning": "Which loss parameter and which sample weights bring the limit of the flow nearest to the true filter?",
    "spurious_minima": "How often does gradient flow end in a spurious minimum of an attainable target?",
    "landscape": "How many minima, spurious ones and saddles are there, and how often do flows end in spurious ones?",
    "strides": "Do larger strides keep the limits of gradient flow away from common roots of the filters?",
    "rates": "How fast does gradient flow converge, and is it as fast as the Lojasiewicz exponent of the theory says?",
    "repeated_filters": "Which roots do the limits have, and when do filters of even size end with a root in common?",
    "imbalance": "What does an imbalance of the initial filters do to the rates and the limits of gradient flow?",
    "bounds": "How tight are the a-priori bounds on the filters?",
    "saddle_to_saddle": "How long does gradient flow stay near zero after a small start, and how does depth matter?",
    "robustness": "How well do the losses withstand outliers, on an ECG, a climate record and a photograph?",
    "imaging": "Can a linear convolutional network learn to deblur a photograph?",
    "flow_vs_descent": "How far does gradient descent go from the gradient flow, and does that follow the step size?",
    "edge_of_stability": "How sharp are the minima at which gradient descent comes to rest, beside those of the flow?",
    "separable": "Where do flows of margin losses go on data that the network can separate, and how fast?",
    "conservation": "What do gradient descent, momentum and Adam leave of what the gradient flow conserves?",
    "lazy_and_rich": "When does a linear network learn as its kernel at the start does, and when another filter?",
    "activations": "Do flows of networks with these activations come to a limit, and what do they conserve on the way?",
    "dense_vs_convolution": "Do dense and convolutional networks have spurious minima on the same data?",
}
"""By the name of the module."""
