"""The runner: configuration, sweeps, storage, figures, report. Uses the public API of `lcnn_flow` only."""
