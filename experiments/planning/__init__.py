"""From a file to a checked sweep, cut into batches, with an estimate of what it takes."""
