"""A study: how often gradient flow of a linear convolutional network ends in a spurious minimum.

    make study        or        PYTHONPATH=docs python -m study

computes everything again. `index.md` is the text, `results.csv` and `checks.csv` are the numbers behind it.
"""
