"""Flows of arbitrary functions against an independent reference: `python -m tests.functions` prints the table."""
