"""Networks with activations, further losses, weight decay and descents against an independent reference.

`python -m tests.functions.networks --cases 1000` prints the table of verdicts.
"""
