"""What the reference says of every public function: its arguments, what it returns, and which errors it raises."""

import inspect
import re

import pytest

import lcnn_flow as lf

PACKAGES = ("losses", "data", "initializers", "activations", "theory", "observables", "symmetry", "solvers", "plot")
OF_ALL_FLOWS = set(inspect.signature(lf.FlowOptions).parameters)


def public_functions():
    """All that the reference shows, by the name that users write."""
    named = {f"lf.{name}": getattr(lf, name) for name in lf.__all__}
    for package in PACKAGES:
        module = getattr(lf, package)
        shown = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        named |= {f"lf.{package}.{name}": getattr(module, name) for name in shown}
    return {name: value for name, value in named.items() if inspect.isfunction(value)}


def sections(function):
    """The docstring by its headings; the text before them has the heading ""."""
    parts = re.split(r"^(Args|Returns|Raises):\n", inspect.getdoc(function) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented(text):
    """Names of the arguments that a section explains; several may share an explanation, as in "rtol, atol: ..."."""
    return {name for entry in re.findall(r"^    ([\w*, ]+):", text, re.MULTILINE) for name in re.findall(r"\w+", entry)}


@pytest.mark.parametrize("name", sorted(public_functions()))
def test_docstring_explains_every_argument_the_result_and_the_errors(name):
    function = public_functions()[name]
    said, signature = sections(function), inspect.signature(function)
    assert said[""].strip()
    explained = documented(said.get("Args", ""))
    if "options" in explained:
        explained |= OF_ALL_FLOWS
    assert set(signature.parameters) - explained == set()
    if signature.return_annotation not in (None, "None"):
        assert said.get("Returns", "").strip()
    if re.search(r"\braise [A-Z]\w+Error|\bcheck_\w+\(", inspect.getsource(inspect.unwrap(function))):
        assert re.search(r"^    [\w, ]*Error: ", said.get("Raises", ""), re.MULTILINE)


def test_every_public_class_says_what_it_is():
    classes = {name: getattr(lf, name) for name in lf.__all__ if inspect.isclass(getattr(lf, name))}
    assert {name for name, value in classes.items() if "__doc__" not in vars(value) or not value.__doc__} == set()
