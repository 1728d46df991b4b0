"""The command `describe`: what a module asks, what the theory expects, and what is checked.

Importing the modules takes long, because they import JAX, xarray and matplotlib. Therefore the descriptions of the
modules of the catalogue are stored in descriptions.json. `python -m experiments.describing` writes that file, and a
test compares it with the modules.
"""

import json
from pathlib import Path
from typing import Any

from experiments.columns import in_columns, in_lines
from experiments.errors import UserError
from experiments.faults import did_you_mean
from experiments.questions import QUESTIONS

__all__ = ["STORED", "describe", "descriptions"]

STORED = Path(__file__).with_name("descriptions.json")
"""The file with theory, axes and checks of every module of the catalogue, by its name."""


def describe(name: str) -> None:
    """Say what a module asks, what the theory expects, and what is checked.

    Args:
        name: a module, as `list` shows it, or path/to/my_module.py:MODULE.
    """
    if name in QUESTIONS:
        title, said = f"{name}: {QUESTIONS[name]}", json.loads(STORED.read_text(encoding="utf-8"))[name]
    elif ":" in name:
        from experiments.modules.finding import absolute_name, find_module  # imported here, because it takes long

        module = find_module(absolute_name(name, Path()))
        title, said = f"{module.name}: {module.question}", _description(module)
    else:
        raise UserError(f'no module "{name}"; known: {", ".join(QUESTIONS)}{did_you_mean(name, QUESTIONS)}')
    print(f"{title}\n\n{in_lines(said['theory'])}\n\naxes that make sense:")
    print(in_columns(said["axes"]))
    print(f"\nchecked on the results:\n{in_columns(said['checks'])}")


def descriptions() -> dict[str, dict[str, Any]]:
    """The descriptions of all modules of the catalogue, from the modules themselves."""
    from experiments.modules import MODULES

    return {name: _description(module) for name, module in MODULES.items()}


def _description(module: Any) -> dict[str, Any]:
    checks = {check.__name__: (check.__doc__ or "").split("\n", 1)[0] for check in module.claims}
    return {"theory": module.theory, "axes": module.axes, "checks": checks}


if __name__ == "__main__":
    STORED.write_text(json.dumps(descriptions(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
