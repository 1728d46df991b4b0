"""From one cell of a sweep to flows, and to what is found out about them."""
