"""Optimisers of optax on the risks of this library: their trajectories, verdicts, and distance to the flow."""
