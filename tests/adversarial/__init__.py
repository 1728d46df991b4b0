"""Hard problems against the verdicts: generator, independent reference, exact tests, and a judge of every flow.

`python -m tests.adversarial --cases 1000` runs it and prints a table; `test_adversarial.py` asserts on the same tables.
"""
