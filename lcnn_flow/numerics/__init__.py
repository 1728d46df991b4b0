"""Linear algebra, parameters as vectors, and compilation; nothing here knows networks or risks."""
