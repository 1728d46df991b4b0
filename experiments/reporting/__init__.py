"""Makes tables and reports of stored results."""
