"""A configuration with its axes: what a run consists of."""
