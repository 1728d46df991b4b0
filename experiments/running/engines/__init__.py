"""Engines: where batches are computed. All have the small interface of `base.Engine` and give the same bits.

Nothing is imported here: worker processes prepare their environment before they import JAX.
"""
