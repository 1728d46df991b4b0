"""Every fault of a configuration at once: path, value found, what is allowed, and a likely correction."""

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from experiments.errors import UserError

__all__ = ["ConfigurationError", "Fault", "did_you_mean", "faults_of"]


@dataclass(frozen=True)
class Fault:
    """One mistake at the dotted `path` of a configuration."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigurationError(UserError):
    """A configuration with faults; the message has one line per fault."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = f"{len(faults)} fault" + ("s" if len(faults) > 1 else "")
        super().__init__("\n".join([f"{source}: {count}", *(f"  {fault}" for fault in faults)]))


_OTHER_NAMES = {
    "normal": "gaussian",
    "random": "gaussian",
    "xavier": "gaussian",
    "glorot": "gaussian",
    "kaiming": "fan_in",
    "he": "fan_in",
    "mse": "square",
    "l2": "square",
    "l_2": "square",
    "quadratic": "square",
    "least_squares": "square",
    "l_p": "lp",
    "l1": "lp",
    "quantile": "smooth_quantile",
    "pinball": "smooth_quantile",
    "cross_entropy": "logistic",
    "bce": "logistic",
    "hinge": "logistic",
    "exp": "exponential",
    "classification": "labels",
    "signs": "labels",
    "csv": "file",
    "npz": "file",
    "npy": "file",
    "ar": "autoregressive",
    "iid": "white",
    "conv": "convolution",
    "cnn": "convolution",
    "mlp": "dense",
    "fully_connected": "dense",
    "linear": "none",
    "identity": "none",
    "lecun": "fan_in",
    "sigmoid": "tanh",
    "leaky": "leaky_relu",
    "polynomial": "power",
    "signal": "windows",
}
"""Names used elsewhere for a kind that has another name here, where the spelling does not suggest the name."""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean "..."?` if one of `allowed` is spelled like `word` or means the same; else an empty text."""
    known = list(allowed)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    other = _OTHER_NAMES.get(word.lower().replace("-", "_"))
    meant = other if other in known else close[0] if close else None
    return f'; did you mean "{meant}"?' if meant else ""


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """The faults that pydantic has found in data for `model`, in the words of this project."""
    faults = []
    for detail in error.errors(include_url=False):
        path, keys, kinds = _resolve(model, detail["loc"])
        faults.append(Fault(path, _of_another_kind(detail, kinds) or _message(detail, keys)))
    return faults


def _of_another_kind(detail: Mapping[str, Any], kinds: Mapping[str, type[BaseModel]]) -> str:
    """The message for a key that belongs to another kind of its table; empty for other faults."""
    if not kinds:
        return ""
    *_, tag, key = detail["loc"]
    owners = [f'kind = "{kind}"' for kind, model in kinds.items() if kind != tag and key in model.model_fields]
    table = detail["type"] == "string_type" and isinstance(detail["input"], Mapping)
    if not owners or not (table or detail["type"] == "extra_forbidden"):
        return ""
    return f'{"a table here" if table else "this key"} belongs to {" or ".join(owners)}, not to "{tag}": remove it'


def _message(detail: Mapping[str, Any], keys: Sequence[str]) -> str:
    kind, found, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        word = str(detail["loc"][-1])
        return f"unknown key; allowed here: {', '.join(keys)}{did_you_mean(word, keys)}"
    if kind == "missing":
        return "missing; this key is required"
    if kind == "union_tag_not_found":
        return f'missing key "kind"; allowed: {_tags(keys)}'
    if kind == "union_tag_invalid":
        tag = str(context["tag"])
        return f"kind = {_shown(tag)}; allowed: {_tags(keys)}{did_you_mean(tag, keys)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"found {_shown(found)}; a table is needed here, with the keys {', '.join(keys)}"
    if kind == "literal_error":
        return f"found {_shown(found)}; allowed: {context['expected']}"
    text = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(found, Mapping):  # a rule about several keys, whose message names them
        return text
    return f"found {_shown(found)}; {text}"


def _tags(keys: Sequence[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else text[:57] + "..."


def _resolve(
    model: type[BaseModel], location: Sequence[int | str]
) -> tuple[str, list[str], dict[str, type[BaseModel]]]:
    """The dotted path of a pydantic location, and what is allowed at that place.

    A location also contains the tags of discriminated unions, which are not part of the path.

    Returns:
        The path; the names of the fields of the model there or, for a discriminated union, of its kinds; and, if the
        location is a key of one member of such a union, all members by kind.
    """
    path, here, keys = "", model, list(model.model_fields)
    union: dict[str, type[BaseModel]] = {}
    for number, part in enumerate(location):
        here = _peel(here)
        members = _members(here)
        if members:  # the tag of a discriminated union is not a key of the file
            here = members.get(str(part), here)
            union = members if number == len(location) - 2 else {}
            keys = list(here.model_fields) if _is_model(here) else keys
            continue
        path = f"{path}[{part}]" if isinstance(part, int) else f"{path}.{part}" if path else str(part)
        if _is_model(here) and part in here.model_fields:
            here = _peel(here.model_fields[str(part)].annotation)
        elif isinstance(part, int):
            here = _item(here, part)
        members = _members(_peel(here))
        if members:
            keys = list(members)
        elif _is_model(here):
            keys = list(here.model_fields)
    return path, keys, union


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _peel(annotation: Any) -> Any:
    """The type without Annotated[...] and without an optional None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [arg for arg in get_args(annotation) if arg is not type(None)]
        if len(members) == 1:
            return _peel(members[0])
    return annotation


def _members(annotation: Any) -> dict[str, Any]:
    """Models of a discriminated union by their kind; empty for anything else."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return {}
    models = [_peel(arg) for arg in get_args(annotation)]
    if not all(_is_model(m) and "kind" in m.model_fields for m in models):
        return {}
    return {get_args(m.model_fields["kind"].annotation)[0]: m for m in models}


def _item(annotation: Any, index: int) -> Any:
    arguments = get_args(annotation)
    if not arguments:
        return annotation
    return _peel(arguments[0] if len(arguments) == 2 and arguments[1] is Ellipsis else arguments[index])
