"""The question that each experiment module asks, for every configuration that does not ask its own."""

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "convergence": "Does gradient flow converge to a critical point of the empirical risk, along a finite path?",
    "conditions": "Do the full-rank conditions on the data decide whether gradient flow converges?",
    "identification": "Which loss finds an unknown filter best from noisy targets, and does every flow converge?",
    "tuning": "Which loss parameter and which sample weights bring the limit of the flow nearest to the true filter?",
}
"""By the name of the module."""
