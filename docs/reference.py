"""Pages of the site that are made of the code when it is built, so that they cannot be stale."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fgvc_cli.cli.main import app
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.presets import PRESETS
from fgvc_cli.spec.run import RunSpec

HERE = Path(__file__).parent
OPEN = re.compile(r"\n## (What (?:the paper leaves open|differs from the paper)[^\n]*)\n(.*?)(?=\n## |\Z)", re.DOTALL)


def pages() -> dict[str, str]:
    """Path in the site → Markdown."""
    return {
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/presets.md": presets_page(),
        "reference/decisions.md": decisions_page(),
    }


def commands_page() -> str:
    """Every command with its arguments and flags."""
    root = typer.main.get_command(app)
    parts = ["# Commands", "Every command with its flags, as `fgvc COMMAND --help` prints them."]
    for name, command in walk(root, "fgvc"):
        parts += [f"## {name}" if name != "fgvc" else "## fgvc itself", described(command.help), *tables(command)]
    return "\n\n".join(part for part in parts if part) + "\n"


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A command and all below it, by their full names."""
    yield name, command
    for part, below in sorted(getattr(command, "commands", {}).items()):
        yield from walk(below, f"{name} {part}")


def described(text: str | None) -> str:
    """A help text as Markdown."""
    return inspect.cleandoc(text or "").replace("\f", "").strip()


def tables(command: Any) -> Iterator[str]:
    """A table for each panel of a command's help."""
    panels: dict[str, list[str]] = {}
    for one in command.params:
        if getattr(one, "hidden", False) or one.name in ("install_completion", "show_completion", "help"):
            continue
        panel = getattr(one, "rich_help_panel", None) or ""
        panels.setdefault(panel, []).append(row(flag(one), default_of(one), getattr(one, "help", None) or ""))
    for panel, rows in panels.items():
        yield (f"**{panel}**\n\n" if panel else "") + table(("argument or flag", "default", "meaning"), rows)


def flag(one: Any) -> str:
    """A parameter as it is typed."""
    if not one.opts[0].startswith("-"):
        return code(one.metavar or one.name.upper())
    names = [*one.opts, *one.secondary_opts]
    value = "" if one.is_flag else f" {one.metavar or one.name.upper()}"
    return ", ".join(code(name) for name in names[:-1]) + (", " if len(names) > 1 else "") + code(names[-1] + value)


def default_of(one: Any) -> str:
    """What holds if a parameter is not given."""
    if one.required:
        return "required"
    shown = one.default is not None and getattr(one, "show_default", True) and not getattr(one, "is_flag", False)
    return code(one.default) if shown and not callable(one.default) else ""


def settings_page() -> str:
    """Every field of a run's spec, those of each method apart."""
    parts = [
        "# Settings",
        "Every field of a run's `run.json`. `fgvc train --set FIELD=VALUE` sets any; unknown fields and values out of "
        "bounds are refused before anything starts. Defaults are those of the spec; a preset may have others "
        "(`fgvc presets show NAME`).",
    ]
    for section, field in RunSpec.model_fields.items():
        models = models_in(field.annotation)
        if section == "method" or not models:
            continue
        parts += [f"## {section}", described(models[0].__doc__), fields_table(models[0], section)]
        parts += list(choices(models[0], section))
    parts.append("## method")
    for name, spec in METHOD_SPECS.items():
        own = fields_table(spec, "method") if len(spec.model_fields) > 1 else "No settings."
        parts += [f"### method {name}", described(spec.__doc__), own]
    return "\n\n".join(parts) + "\n"


def choices(model: type[BaseModel], path: str) -> Iterator[str]:
    """Tables of the sections inside a section: optimizers, schedules."""
    for key, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            yield f"### {path}.{key}: {inner.model_fields['name'].default if 'name' in inner.model_fields else key}"
            yield described(inner.__doc__)
            yield fields_table(inner, f"{path}.{key}")


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The specs that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def fields_table(model: type[BaseModel], path: str) -> str:
    """Field, type with bounds, default, meaning."""
    rows = [
        row(code(f"{path}.{key}"), kind(field), default_text(field), field.description or "")
        for key, field in model.model_fields.items()
        if not (path == "method" and key == "name")
    ]
    return table(("field", "values", "default", "meaning"), rows)


def kind(field: FieldInfo) -> str:
    """The values that a field takes."""
    return ", ".join([type_text(field.annotation), *bounds(field.metadata)])


def bounds(metadata: Iterable[Any]) -> list[str]:
    """Bounds as they are read: ≥ 0."""
    found = [(sign, getattr(one, key, None)) for one in metadata for key, sign in SIGNS.items()]
    return [f"{sign} {bound:g}" for sign, bound in found if bound is not None]


SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "min_length": "length ≥", "max_length": "length ≤"}
WORDS = {int: "whole number", float: "number", str: "text", bool: "true, false", type(None): "null", Path: "path"}


def type_text(annotation: Any) -> str:
    """A type in words."""
    if annotation in WORDS:
        return WORDS[annotation]
    if models_in(annotation):
        return "a section of its own, below"
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        limits = [limit for one in inner[1:] for limit in bounds(getattr(one, "metadata", [one]))]
        return " ".join([type_text(inner[0]), *limits])
    if not inner:
        return getattr(annotation, "__name__", str(annotation))
    if all(isinstance(one, str | int) and not isinstance(one, type) for one in inner):
        return ", ".join(code(one) for one in inner)
    if get_origin(annotation) is tuple:
        return "list of " + ", ".join(dict.fromkeys(type_text(one) for one in inner if one is not ...))
    return " or ".join(dict.fromkeys(type_text(one) for one in inner if one is not ...))


def default_text(field: FieldInfo) -> str:
    """A field's default as `--set` would take it."""
    if field.default is PydanticUndefined:
        return "" if field.default_factory is None else code("[]")
    if isinstance(field.default, BaseModel):
        return code(getattr(field.default, "name", "the section's defaults"))
    return code(json.dumps(field.default, ensure_ascii=False, default=str).strip('"') or '""')


def presets_page() -> str:
    """Every preset: paper and table, command, published accuracy, as its docstring names them."""
    rows = []
    for name, preset in PRESETS.items():
        lines = (inspect.getdoc(preset) or "").split("\n")
        facts = {key: value for key, _, value in (line.partition(": ") for line in lines)}
        rows.append(
            row(code(name), lines[0], facts.get("Paper", ""), code(facts["Command"]), facts.get("Published", ""))
        )
    intro = (
        "`fgvc presets show NAME` prints all fields of one. Published numbers are their authors', not measured here."
    )
    return f"# Presets\n\n{intro}\n\n" + table(("preset", "what", "paper", "command", "published"), rows) + "\n"


def decisions_page() -> str:
    """What each method's page says that its paper leaves open."""
    parts = ["# What the papers leave open", "Collected from the pages of the methods."]
    for page in sorted(HERE.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for found in OPEN.finditer(text):
            title = text.partition("\n")[0].removeprefix("# ")
            body = re.sub(r"\]\(#", f"]({page.name}#", found[2]).strip()
            parts += [f"## {title}", f"[{page.stem}]({page.name}): {found[1][0].lower()}{found[1][1:]}.", body]
    return re.sub(r"\]\((?!https?:|\.\.)([a-z]+\.md)", r"](../\1", "\n\n".join(parts)) + "\n"


def table(head: tuple[str, ...], rows: list[str]) -> str:
    """A Markdown table."""
    return "\n".join([row(*head), "|" + "---|" * len(head), *rows])


def row(*cells: str) -> str:
    """A line of a table, on which a bar would begin a new cell."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def code(text: object) -> str:
    """Inline code."""
    return f"`{text}`"
