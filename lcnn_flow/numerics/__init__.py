"""Linear algebra and programs cut into kernels; no networks, no risks."""
