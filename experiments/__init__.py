"""The runner: configurations, sweeps, storage, figures, reports, on top of `lcnn_flow`."""
