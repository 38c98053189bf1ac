"""What a shared model consists of. A folder that came from others is checked against this before it is a run here."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from fgvc_cli.data.images.listing import RUN_FILE
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.runs.checkpoint import about_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.schema import checked_spec

MODEL, CLASSES, CARD, PICTURE = "model.safetensors", "classes.json", "README.md", "why.png"
_MB, _GB = 1 << 20, 1 << 30
NEEDED = (MODEL, RUN_FILE, CLASSES)
LIMITS = {  # every file that is taken, with its most bytes
    MODEL: 64 * _GB,
    RUN_FILE: _MB,
    CLASSES: 64 * _MB,
    "calibration.json": _MB,
    "taxonomy.json": 256 * _MB,
    "environment.json": _MB,
    "eval/test.json": 64 * _MB,
    "eval/test-classes.csv": 64 * _MB,
    "eval/test-confusion.csv": 256 * _MB,
    "validation.safetensors": _GB,
    "unknown.safetensors": 64 * _GB,
}
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy")


def chosen(sizes: Mapping[str, int | None], what: str) -> tuple[list[str], list[str]]:
    """Of a repository's files those to take, and those that are left.

    Args:
        sizes: path → bytes, None if not known.
        what: the repository, for messages.

    Raises:
        BadRequest: a file that is needed is missing, or one is larger than it may be.
    """
    missing = [name for name in NEEDED if name not in sizes]
    if missing:
        pickles = [name for name in sizes if name.lower().endswith(_PICKLES)]
        hint = f"; {pickles[0]} may hold code, and such files are never opened" if pickles else ""
        raise BadRequest(f"{what} is no model of fgvc: it has no {missing[0]}{hint}")
    taken = [name for name in LIMITS if name in sizes]
    for name in taken:
        _must_fit(what, name, sizes[name])
    return taken, sorted(set(sizes) - set(taken) - {CARD, PICTURE, ".gitattributes"})


def _must_fit(what: str, name: str, size: int | None) -> None:
    if size is not None and size > LIMITS[name]:
        raise BadRequest(f"{what} is no model of fgvc: {name} has {size:,} bytes, and {LIMITS[name]:,} are the most")


def check_folder(folder: Path, what: str) -> None:
    """BadRequest unless a folder of taken files is a model that fgvc wrote: right sizes, forms, and classes.

    Args:
        folder: with the files of `LIMITS` alone.
        what: where they came from, for messages.
    """
    for name in _there(folder, LIMITS):
        status = os.lstat(folder / name)
        if not stat.S_ISREG(status.st_mode):
            raise BadRequest(f"{what} is no model of fgvc: {name} is no regular file")
        _must_fit(what, name, status.st_size)
    run = RunFolder(folder)
    try:
        about = about_model(run.model_file)
        spec = checked_spec(about["spec"], run.model_file)
        if (run.spec().method, run.classes()) != (spec.method, tuple(about["classes"])):
            raise FgvcError(f"{RUN_FILE} or {CLASSES} is of another model than {MODEL}")
        _check_rest(run)
    except FgvcError as error:
        text = error.args[0].replace(f"{folder}{os.sep}", "").removeprefix("cannot read ")
        raise BadRequest(f"{what} is no model of fgvc: {text}") from None


def _there(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if os.path.lexists(folder / name)]


def _check_rest(run: RunFolder) -> None:
    if run.calibration_file.exists():
        run.calibration()
    if run.evaluation_file("test").exists():
        run.evaluation("test")
    if (run.path / "environment.json").exists():
        run.environment()
    run.taxonomy()
