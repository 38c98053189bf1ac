"""Measure a run from a program, by the flags of `fgvc eval`. Nothing here imports torch before it is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from fgvc_cli.api.place import RunLike, folder_of, place_of
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import NotWritable
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.predict.asked import is_exported
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.schema import EvalResult
from fgvc_cli.spec.flags import checked_flags
from fgvc_cli.terminal import Console
from fgvc_cli.values import LEAST_ROLLUP, MOST_COVERAGE, check_share

if TYPE_CHECKING:
    from fgvc_cli.inference.request import EvalRequest

_Path: TypeAlias = str | os.PathLike[str]


class EvalFlags(TypedDict, total=False):
    """The flags of `fgvc eval`, which says what they are; None: not given."""

    split: str | None
    per_class: bool
    batch_size: int | None
    device: str | None
    precision: str | None
    compile: bool | None
    workers: int | None
    data_dir: _Path | None
    name: str | None
    unknown_classes: str
    localisation: bool | None
    retrieval: bool | None
    unknown: str | None
    target_precision: float | None
    set_coverage: float | None
    rollup: float | None
    ensemble: bool
    taxonomy: _Path | None
    out: _Path | None


def evaluate(
    run: RunLike | Sequence[RunLike] | None = None, *, progress: bool = True, **flags: Unpack[EvalFlags]
) -> EvalResult:
    """Measure a run's model on a split or on new photos, and store the result in its eval/ folder.

    Args:
        run: a run or its folder, or an exported .onnx; None: the newest below runs/. With `ensemble=True` several runs.
        progress: show notes and progress on stderr, as the command does.
        flags: those of `fgvc eval`, with underscores: `split`, `data_dir`, `target_precision`, ….

    Returns:
        What eval/NAME.json holds (docs/measures.md); with `per_class`, the table of all classes too.

    Raises:
        BadRequest: a flag is wrong, or the data or the run cannot be used.
        FgvcError: the result cannot be stored. (In a folder that may only be read it is not, and a note says so.)
    """
    found = checked_flags(flags, EvalFlags.__annotations__, "fgvc.evaluate")
    check_share(found.get("target_precision"), "target-precision")
    check_share(found.get("set_coverage"), "set-coverage", most=MOST_COVERAGE)
    check_share(found.get("rollup"), "rollup", least=LEAST_ROLLUP)
    given = [] if run is None else [run] if isinstance(run, str | os.PathLike) else list(run)
    if run is not None and not given:
        raise BadRequest("no run was named: leave it out for the newest")
    console = Console(stderr=True, quiet=not progress)
    if len(given) == 1 and is_exported(place_of(given[0])):
        return EvalResult.model_validate(measured_file(place_of(given[0]), found, console))
    folders = [folder_of(one) for one in given]
    result, failed = measured(folders or [RunFolder.newest()], found, console)
    if failed is not None:
        raise failed
    return EvalResult.model_validate(result)


def measured(
    runs: Sequence[RunFolder], flags: Mapping[str, Any], console: Console
) -> tuple[dict[str, Any], FgvcError | None]:
    """Measure a run, or an ensemble of several, as the flags say, and store the result.

    Args:
        runs: the run; several only with the flag `ensemble`.
        flags: those of `fgvc eval`, name with underscores → value.
        console: shows notes and the progress.

    Returns:
        The result, and why it could not be stored. A run that is only to be read is none such: a note tells. That of
        an ensemble is stored only in the folder `out`.
    """
    if len(runs) > 1 and not flags.get("ensemble"):
        raise BadRequest("several runs are measured together only: add --ensemble, or name one run")
    with quick_imports():
        from fgvc_cli.evaluation.confusion import class_rows
        from fgvc_cli.evaluation.ensemble import measure_ensemble
        from fgvc_cli.evaluation.evaluate import measure_run

    out, request = flags.get("out"), request_of(flags)
    together = bool(flags.get("ensemble"))
    measured = measure_ensemble(runs, request, console) if together else measure_run(runs[0], request, console)
    result, failed = measured.result, None
    try:
        if out is not None or not together:
            result = measured.save(runs[0], out)
    except FgvcError as error:
        failed = error
    if flags.get("per_class"):
        result["per_class"] = class_rows(measured.classes, measured.counts)
    if isinstance(failed, NotWritable) and out is None:  # a run that is only to be read
        console.note(f"not saved: {failed}")
        failed = None
    return result, failed


def measured_file(file: Path, flags: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """Measure an exported file as the flags say; stored only in the folder `out`. Needs no PyTorch.

    Raises:
        BadRequest: it is no exported file, its images are not known, or a measure needs the run.
        FgvcError: the result cannot be stored.
    """
    from fgvc_cli.evaluation.confusion import class_rows
    from fgvc_cli.evaluation.exported.measure import measure_exported
    from fgvc_cli.predict.asked import open_for_answers
    from fgvc_cli.predict.kept import validation_of

    needs_run = next((key for key in _OF_RUNS if flags.get(key) not in (None, False)), None)
    if needs_run is not None:
        raise BadRequest(f"--{needs_run.replace('_', '-')} needs the run: name it, not an exported file")
    out, request = flags.get("out"), request_of(flags)
    model = open_for_answers(file, batch_size=request.batch_size, device=request.device, precision=request.precision)
    wanted = request.target_precision is not None
    kept = validation_of(model.about.validation, model.file) if wanted else None
    measured = measure_exported(model, request, console, kept)
    result = measured.result if out is None else measured.save(RunFolder(out), out)
    if flags.get("per_class"):
        result["per_class"] = class_rows(measured.classes, measured.counts)
    return result


_OF_RUNS = ("ensemble", "compile", "localisation", "retrieval", "unknown", "set_coverage", "rollup", "taxonomy")


def request_of(flags: Mapping[str, Any]) -> EvalRequest:
    """The request that flags of `fgvc eval` make."""
    from fgvc_cli.inference.request import EvalRequest

    settings = {key: value for key, value in flags.items() if key not in ("per_class", "out", "data_dir", "ensemble")}
    return EvalRequest(**settings | {"root": flags.get("data_dir"), "compile": bool(flags.get("compile"))})
