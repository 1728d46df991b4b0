"""Tests of the end of a flow: Newton's method, curvature, criteria of convergence, and verdicts."""
