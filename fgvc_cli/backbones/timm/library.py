"""timm, an optional dependency: whether it has a model, and what it knows of it."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any

from torch import nn

from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports

# Transformers are built for one image size. Each of these options allows other sizes in some model families.
_ANY_SIZE: tuple[dict[str, bool], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


def create(model: str, *, pretrained: bool, drop_path: float | None = None) -> nn.Module:
    """timm's network without its classifier, for images of any size where its family allows that."""
    timm = package()
    more = {} if drop_path is None else {"drop_path_rate": drop_path}
    for options in _ANY_SIZE:
        try:
            created: nn.Module = timm.create_model(model, pretrained=pretrained, num_classes=0, **options, **more)
            return created
        except TypeError:  # the family does not have the option, so the next one is tried
            if not options:
                raise
    raise AssertionError("the last options are none")


def pretrained_config(model: str) -> Any:
    """timm's record of a model's default weights: mean, std, interpolation, input_size, crop_pct, and where they are.

    Raises:
        BadRequest: timm is not installed, or has no such model.
    """
    must_know(model)
    return package().get_pretrained_cfg(model)


def must_know(model: str) -> None:
    """BadRequest if timm has no model of that name."""
    timm = package()
    if not timm.is_model(model):
        close = difflib.get_close_matches(model, timm.list_models(), n=4, cutoff=0.5)
        hint = f"; similar names: {', '.join(close)}" if close else ""
        raise BadRequest(f"timm has no model called {model!r}{hint}")
    try:
        timm.get_pretrained_cfg(model)
    except RuntimeError:  # the name goes on after a dot with weights that it does not have
        tagged = timm.list_pretrained(f"{model.partition('.')[0]}.*")
        raise BadRequest(f"timm has no model called {model!r}; there are {', '.join(tagged) or 'none'}") from None


def package() -> Any:
    """The module timm. BadRequest if it is not installed."""
    try:
        with quick_imports():
            return import_module("timm")
    except ModuleNotFoundError as error:
        raise BadRequest("timm: backbones need the package timm: pip install timm") from error


def first_line(error: Exception) -> str:
    """An error's first line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
