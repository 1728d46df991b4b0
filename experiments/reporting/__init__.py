"""From results to tables and the report."""
