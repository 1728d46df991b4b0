"""The differential equation: settings, vector field, stopping rule, and what is recorded on the way."""
