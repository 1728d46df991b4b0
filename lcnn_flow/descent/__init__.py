"""Optimisers of optax on the risks of this library: trajectories, verdicts, and distance to the gradient flow."""
