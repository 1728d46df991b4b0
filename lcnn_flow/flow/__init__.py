"""A single flow, from its start to its limit."""
