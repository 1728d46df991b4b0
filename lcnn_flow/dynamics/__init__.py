"""The differential equation of the flow: settings, vector field, stopping rule, and recording during integration."""
