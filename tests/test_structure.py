"""The packages of the library stand on floors: imports go down, nothing goes round in a circle."""

import ast
import importlib
import inspect
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lcnn_flow as lf

LIBRARY = Path(lf.__file__).parent
MODULES = [file for file in LIBRARY.rglob("*.py") if file.name != "__init__.py" and file.parent != LIBRARY]
PACKAGES = sorted({file.relative_to(LIBRARY).parts[0] for file in MODULES})


def imported(file):
    """Modules of the library that a file imports anywhere."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lcnn_flow"):
            yield node.module.split(".")[1:]


def arrows():
    """Packages and those that they import."""
    found = defaultdict(set)
    for file in LIBRARY.rglob("*.py"):
        package = file.relative_to(LIBRARY).parts[0]
        if file.parent != LIBRARY:
            found[package] |= {name[0] for name in imported(file) if name and name[0] in PACKAGES} - {package}
    return found


def modules_below(folder):
    """Every module of a package and the modules of it that it imports anywhere, also inside functions."""
    files = {file for file in folder.rglob("*.py") if file.name != "__init__.py"}
    names = {".".join(file.relative_to(folder.parent).with_suffix("").parts): file for file in files}
    found = {}
    for name, file in names.items():
        below = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                below |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        found[name] = below & names.keys()
    return found


def floor(package, below, above=()):
    """The longest way down from a package."""
    assert package not in above, f"imports go round: {' -> '.join((*above, package))}"
    return 1 + max((floor(other, below, (*above, package)) for other in below[package]), default=0)


def test_imports_between_packages_go_down_at_most_ten_floors():
    below = arrows()
    assert max(floor(package, below) for package in PACKAGES) <= 10


@pytest.mark.parametrize("folder", [LIBRARY, LIBRARY.parent / "experiments"], ids=lambda folder: folder.name)
def test_no_imports_go_round_in_a_circle_not_even_those_inside_functions(folder):
    below = modules_below(folder)
    assert len(below) > 100
    TopologicalSorter(below).prepare()  # raises CycleError, which names the circle


def test_no_module_is_named_like_a_public_function():
    public = {name for name in lf.__all__ if inspect.isfunction(getattr(lf, name))}
    for package in (lf.theory, lf.critical, lf.data):
        public |= {name for name in package.__all__ if inspect.isfunction(getattr(package, name))}
    assert public & {part for file in MODULES for part in file.relative_to(LIBRARY).with_suffix("").parts} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_can_be_imported_alone_and_says_what_it_is(package):
    assert importlib.import_module(f"lcnn_flow.{package}").__doc__


def test_modules_name_what_they_offer_and_keep_to_a_size_that_can_be_read():
    for file in MODULES:
        text = file.read_text()
        assert "__all__" in text, file
        assert len(text.splitlines()) <= 400, file
