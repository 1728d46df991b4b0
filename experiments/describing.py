"""What `python -m experiments describe NAME` says of a module; apart from other commands, which need more."""

from pathlib import Path

from experiments.errors import UserError
from experiments.faults import did_you_mean
from experiments.questions import QUESTIONS

__all__ = ["describe"]


def describe(name: str) -> None:
    """Say what a module asks, what the theory expects, and what is checked.

    Args:
        name: a module, as `list` shows it, or path/to/my_module.py:MODULE.
    """
    if name not in QUESTIONS and ":" not in name:
        raise UserError(f'no module "{name}"; known: {", ".join(QUESTIONS)}{did_you_mean(name, QUESTIONS)}')
    from experiments.modules.finding import absolute_name, find_module  # here: a mistaken name is answered at once

    module = find_module(absolute_name(name, Path()))
    print(f"{module.name}: {module.question}\n\n{module.theory}\n\naxes that make sense:")
    for axis, meaning in module.axes.items():
        print(f"  {axis:24} {meaning}")
    print("\nchecked on the results:")
    for check in module.claims:
        print(f"  {check.__name__:24} {(check.__doc__ or '').splitlines()[0]}")
