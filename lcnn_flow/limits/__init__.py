"""What the end of a flow is: Newton's method, curvature, tests of convergence, verdicts."""
