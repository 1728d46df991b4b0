"""Pages of the reference that are written from the code: public names, keys of a configuration, commands."""

import inspect
import re
from pathlib import Path

import lcnn_flow as lf

PACKAGES = ("losses", "data", "initializers", "activations", "theory", "observables", "symmetry", "solvers", "plot")


def escape_docstring(app, what, name, obj, options, lines):
    """Bars of norms and stars of products are no markup in these docstrings."""
    for position, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        lines[position] = "".join(
            part if part.startswith("`") else re.sub(r"([|*])|(?<=\w)(_)(?!\w)", r"\\\1\2", part) for part in parts
        )


def docstring_of_attribute_aside(app, what, name, obj, options, lines):
    """Keeps docstrings of attributes from napoleon, which takes what stands before a colon for a type."""
    if what in ("attribute", "property", "data"):
        app.kept_lines, lines[:] = list(lines), []


def docstring_of_attribute_back(app, what, name, obj, options, lines):
    """Puts the docstring back after napoleon has run."""
    if what in ("attribute", "property", "data"):
        lines[:] = app.kept_lines


def write_pages(folder: Path) -> None:
    """Writes the generated pages; a file changes only when its text does."""
    pages = {"library.md": _library(), "configuration.md": _configuration(), "commands.md": _commands()}
    pages |= {f"{package}.md": _package(package) for package in PACKAGES}
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _library() -> str:
    text = "# The library\n\nEvery public name of `lcnn_flow`, imported as `lf`; packages have their own pages.\n\n"
    text += "```{toctree}\n" + "".join(f"{package}\n" for package in PACKAGES) + "```\n"
    for what, wanted in (("Functions", inspect.isfunction), ("Classes", _is_class), ("Errors", _is_error)):
        names = sorted((name for name in lf.__all__ if wanted(getattr(lf, name))), key=str.lower)
        text += f"\n## {what}\n" + _entries(lf, names)
    return text


def _package(package: str) -> str:
    module = getattr(lf, package)
    named = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    shown = [name for name in named if name not in lf.__all__]
    return f"# lf.{package}\n\n{inspect.getdoc(module)}\n" + _entries(module, shown)


def _is_error(value) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def _is_class(value) -> bool:
    return inspect.isclass(value) and not _is_error(value)


def _entries(module, names: list[str]) -> str:
    text = ""
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value):
            text += f"\n```{{eval-rst}}\n.. autoclass:: {module.__name__}.{name}\n   :members:\n```\n"
        elif inspect.isfunction(value):
            text += f"\n```{{eval-rst}}\n.. autofunction:: {module.__name__}.{name}\n```\n"
    return text


def _configuration() -> str:
    from experiments.schema import Configuration

    schema = Configuration.model_json_schema()
    models = schema["$defs"]
    text = (
        "# Keys of a configuration\n\nA configuration is a TOML file. Every key below can be an axis of `[sweep]` or "
        "be set by `--set section.key=value`, and all are checked before anything runs.\n\n"
    )
    text += _table({key: entry for key, entry in schema["properties"].items() if not _named(entry)}, schema)
    for section, entry in schema["properties"].items():
        for model in _named(entry):
            text += f"\n## `[{section}]`{_kind(models[model])}\n\n" + _model(models[model], models)
    return text


def _model(model: dict, models: dict) -> str:
    """What a table is for, its keys, and the tables inside of it."""
    text = f"{model.get('description', '')}\n\n{_table(model['properties'], model)}"
    for key, entry in model["properties"].items():
        for inner in _named(entry):
            text += f"\n`{key}`{_kind(models[inner])}: {_model(models[inner], models)}"
    return text


def _kind(model: dict) -> str:
    kind = model["properties"].get("kind")
    return f' with `kind = "{kind["const"]}"`' if kind else ""


def _named(entry: dict) -> list[str]:
    """Names of the models that an entry of the schema may be."""
    if "$ref" in entry:
        return [entry["$ref"].rsplit("/", 1)[1]]
    return [name for key in ("oneOf", "anyOf", "allOf") for part in entry.get(key, ()) for name in _named(part)]


def _table(properties: dict, model: dict) -> str:
    rows = ""
    for key, entry in properties.items():
        if key != "kind":
            default = f"`{_toml(entry['default'])}`" if entry.get("default") is not None else "left out"
            rows += f"| `{key}` | {_words(entry)} | {'needed' if key in model.get('required', ()) else default} |\n"
    return f"| key | value | default |\n| --- | --- | --- |\n{rows}" if rows else "No further keys.\n"


def _toml(value) -> str:
    return {"True": "true", "False": "false"}.get(str(value), repr(value).replace("'", '"'))


def _words(entry: dict) -> str:
    """The type of an entry in words, with its bounds."""
    if _named(entry):
        return "a table, as below"
    if "enum" in entry:
        return " or ".join(f'`"{value}"`' for value in entry["enum"])
    for union in ("anyOf", "oneOf"):
        if union in entry:
            return " or ".join(_words(part) for part in entry[union] if part.get("type") != "null")
    if entry.get("type") == "array":
        return f"list of {_words(entry.get('items', {}))}"
    words = {"integer": "integer", "number": "number", "string": "text", "boolean": "`true` or `false`"}
    word = words.get(entry.get("type"))
    if word is None:
        return "one size, or a list with one size per axis or layer"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return word + ",".join(f" {sign} {entry[key]}" for key, sign in signs.items() if key in entry)


def _commands() -> str:
    from experiments.cli import _COMMANDS

    text = "# Commands\n\n`python -m experiments COMMAND`, or `lcnn-flow COMMAND` once installed; add `--help`.\n"
    for name, (function, _) in _COMMANDS.items():
        directive = f".. autofunction:: experiments.{function.replace(':', '.')}\n   :no-index:"
        text += f"\n## {name}\n\n```{{eval-rst}}\n{directive}\n```\n"
    return text
