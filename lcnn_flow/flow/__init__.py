"""One flow from its start to its limit."""
