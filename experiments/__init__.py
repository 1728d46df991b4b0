"""The runner: configurations, sweeps, storage, figures and reports on top of the public API of `lcnn_flow`."""
