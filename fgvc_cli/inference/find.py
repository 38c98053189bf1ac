"""Find the newest run whose method gives the wanted evidence, and the methods that give it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Evidence
from fgvc_cli.runs.folder import RUNS, RunFolder, trained_runs
from fgvc_cli.spec.presets import PRESETS, load_preset
from fgvc_cli.spec.run import RunSpec

Wanted = Callable[[Evidence], bool]


def evidence_of(spec: RunSpec, classes: int) -> Evidence:
    """The evidence that a spec's method gives for one image: shapes without values (on the meta device)."""
    return _evidence(json.dumps(spec.model_dump(mode="json")), classes)


@lru_cache(maxsize=16)  # building a method takes longer than an answer
def _evidence(text: str, classes: int) -> Evidence:
    spec = RunSpec.model_validate(json.loads(text))
    with torch.device("meta"), torch.no_grad():
        method, _ = build_method(spec, classes, load_weights=False)
        method.on_epoch(spec.train.epochs - 1, spec.train.epochs)
        size = spec.data.side
        evidence: Evidence | None = method.eval()(torch.empty(1, 3, size, size), evidence=True).evidence
    return evidence or Evidence()


def newest_model(wanted: Wanted | None = None, what: str = "evidence", folder: Path = RUNS) -> Path:
    """The path of the run under `folder` with the newest model among those whose method gives the wanted evidence.

    Args:
        wanted: whether evidence is what is wanted; None: any run is.
        what: the name of the wanted evidence, for the message.
        folder: the folder that holds the runs.

    Raises:
        BadRequest: there is no such run; the message says what to train.
    """
    for run in trained_runs(folder):
        if wanted is None or _has(run, wanted):
            return run.path
    if wanted is None:
        raise BadRequest(f"no trained run under {folder}/: train one with `fgvc train`, or name one with --run")
    first, *others = methods_with(wanted)
    more = f" (or {', '.join(others)})" if others else ""
    raise BadRequest(
        f"no trained run under {folder}/ has {what}: train one, for example with "
        f"`fgvc train --method {first} --dataset demo`{more}, or name one with --run"
    )


def _has(run: RunFolder, wanted: Wanted) -> bool:
    """Whether a run's method gives the wanted evidence; false for a damaged run."""
    try:
        return wanted(evidence_of(run.spec(), len(run.classes())))
    except FgvcError:
        return False


def methods_with(wanted: Wanted) -> list[str]:
    """Names of the methods whose demo preset gives the wanted evidence."""
    demos = [load_preset(name) for name in PRESETS if name.endswith("-demo")]
    return [spec.method.name for spec in demos if wanted(evidence_of(spec, 12))]
