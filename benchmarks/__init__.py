"""Benchmarks of the library: `python -m benchmarks` measures, writes RESULTS.md and draws its figures."""
