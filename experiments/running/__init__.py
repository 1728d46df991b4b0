"""Computing batches wherever they are computed, storing and collecting them."""
