"""Networks: architecture, filters, their end-to-end filter, initial filters."""
