"""Validation errors as one readable line per field."""

from __future__ import annotations

from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fgvc_cli.values import brief

_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_KINDS = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of at most 18 digits",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "path_type": "a path",
    "model_type": "a section with fields of its own",
    "model_attributes_type": "a section with fields of its own",
    "missing": "given",
}


def readable(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per wrong field, in the order of the fields: `train.epochs: must be at least 1 (got 0)`."""
    reasons: dict[str, dict[str, None]] = {}
    for detail in error.errors():
        names, parent = _walk(detail["loc"], model)
        reasons.setdefault(".".join(names) or "spec", {})[_reason(detail, names, parent)] = None
    return [f"{field}: {_either(list(found))}" for field, found in reasons.items()]


def _either(reasons: list[str]) -> str:
    """One reason out of several: what each kind of value that the field may have would have to be."""
    if len(reasons) == 1:
        return reasons[0]
    parts = [reason.partition(" (got ")[0].removeprefix("must be ") for reason in reasons[:-1]]
    return f"must be {', or '.join([*parts, reasons[-1].removeprefix('must be ')])}"


def _reason(detail: ErrorDetails, names: list[str], parent: type[BaseModel] | None) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    got = f" (got {brief(detail['input'])})"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"must be {words} {context[key]}{got}"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}" + ("" if kind == "missing" else got)
    if kind == "extra_forbidden":
        return f"there is no such field{suggestion(names[-1], parent)}"
    if kind == "literal_error":
        return f"must be {context['expected']}{got}"
    if kind == "union_tag_invalid":
        return f"name must be one of {context['expected_tags']}{got}"
    if kind == "value_error":
        return str(context["error"])
    return detail["msg"][:1].lower() + detail["msg"][1:] + got


def suggestion(name: str, parent: type[BaseModel] | None) -> str:
    """A hint for a wrong field name: the closest field, or else the list of fields."""
    if parent is None:
        return ""
    close = get_close_matches(name, parent.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(parent.model_fields)}"


def _walk(location: tuple[int | str, ...], model: type[BaseModel]) -> tuple[list[str], type[BaseModel] | None]:
    """Field names along the location, without union tags, and the model that holds the last field."""
    names: list[str] = []
    parent: type[BaseModel] | None = model
    choices: list[type[BaseModel]] = [model]
    for key in location:
        tagged = [choice for choice in choices if key in _tags(choice)]
        if len(choices) > 1 and tagged:
            choices = tagged
            continue
        if names and isinstance(key, str) and _has_kinds(parent, names[-1]):  # it names one of them
            break
        names.append(str(key))
        parent = choices[0] if len(choices) == 1 else None
        choices = models_of(parent, str(key))
    return names, parent


def _has_kinds(parent: type[BaseModel] | None, key: str) -> bool:
    """Whether a field can hold plain values of several kinds, as a number or a word."""
    if parent is None or key not in parent.model_fields or models_of(parent, key):
        return False
    return get_origin(parent.model_fields[key].annotation) in (Union, UnionType)


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The union tags that select this model."""
    field = model.model_fields.get("name")
    return () if field is None else get_args(field.annotation)


def models_of(parent: type[BaseModel] | None, key: str) -> list[type[BaseModel]]:
    """The models that field `key` of `parent` can hold: empty for plain values, several for a union."""
    if parent is None or key not in parent.model_fields:
        return []
    return _models_in(parent.model_fields[key].annotation)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []
