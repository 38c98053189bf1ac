"""fgvc trains, evaluates, explains and ships fine-grained image classifiers: docs/api.md."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fgvc_cli.machine.spin import bound_spin

if TYPE_CHECKING:
    from fgvc_cli.api import catalog
    from fgvc_cli.api.averaging import average
    from fgvc_cli.api.inputs import images
    from fgvc_cli.api.loading import load
    from fgvc_cli.api.machine import benchmark, check_machine
    from fgvc_cli.api.models.base import Model
    from fgvc_cli.api.models.explanation import Explanation
    from fgvc_cli.api.run import Run
    from fgvc_cli.api.runs.evaluation import evaluate
    from fgvc_cli.api.runs.labels import check_labels
    from fgvc_cli.api.sharing import pull
    from fgvc_cli.api.suites import run_suite, tune
    from fgvc_cli.api.training import estimate, train
    from fgvc_cli.errors import BadRequest, FgvcError
    from fgvc_cli.predict.answers import Answer, Failed

__version__ = "1.0.0"
__all__ = [
    "Answer",
    "BadRequest",
    "Explanation",
    "Failed",
    "FgvcError",
    "Model",
    "Run",
    "average",
    "benchmark",
    "catalog",
    "check_labels",
    "check_machine",
    "estimate",
    "evaluate",
    "images",
    "load",
    "pull",
    "run_suite",
    "train",
    "tune",
]

_HOME = {  # name → its module, which is loaded when the name is first used: PyTorch takes seconds
    "Answer": "fgvc_cli.predict.answers",
    "BadRequest": "fgvc_cli.errors",
    "Explanation": "fgvc_cli.api.models.explanation",
    "Failed": "fgvc_cli.predict.answers",
    "FgvcError": "fgvc_cli.errors",
    "Model": "fgvc_cli.api.models.base",
    "Run": "fgvc_cli.api.run",
    "average": "fgvc_cli.api.averaging",
    "benchmark": "fgvc_cli.api.machine",
    "catalog": "fgvc_cli.api",
    "check_machine": "fgvc_cli.api.machine",
    "check_labels": "fgvc_cli.api.runs.labels",
    "estimate": "fgvc_cli.api.training",
    "evaluate": "fgvc_cli.api.runs.evaluation",
    "images": "fgvc_cli.api.inputs",
    "load": "fgvc_cli.api.loading",
    "pull": "fgvc_cli.api.sharing",
    "run_suite": "fgvc_cli.api.suites",
    "train": "fgvc_cli.api.training",
    "tune": "fgvc_cli.api.suites",
}

bound_spin()  # here, since every way into the package passes by before PyTorch is loaded


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOME[name])
    return import_module(f"{home.__name__}.{name}") if name == "catalog" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
