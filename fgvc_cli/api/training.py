"""Train from a program, by the flags of `fgvc train`. Nothing here imports torch before the flags are checked."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from fgvc_cli.api.run import Run
from fgvc_cli.api.specs import Note, asked_spec, tell
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.spec.flags import checked_flags, sets_of, written
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.spec.run import RunSpec
    from fgvc_cli.training.estimate import Estimate

_ALLOWED_ON_RESUME = ("resume", "no_test", "device", "workers", "cache", "data_dir", "compile", "track")
_Path: TypeAlias = str | os.PathLike[str]


class TrainFlags(TypedDict, total=False):
    """The flags of `fgvc train`, which says what they are; None: not given."""

    method: str | None
    dataset: str | None
    preset: str | None
    config: _Path | None
    set: Sequence[str] | Mapping[str, Any] | None  # FIELD=VALUE, or field → value
    resume: _Path | None
    out: _Path | None
    no_test: bool
    epochs: int | None
    batch_size: int | None
    lr: float | None
    backbone: str | None
    weights: str | None
    image_size: int | str | None
    fit: str | None
    freeze: int | str | None
    device: str | None
    precision: str | None
    compile: bool | None
    seed: int | None
    ema_decay: float | None
    label_smoothing: float | None
    mixup: float | None
    cutmix: float | None
    class_balance: bool | None
    patience: int | None
    track: str | None
    augment: str | None
    erasing: float | None
    data_dir: _Path | None
    train_dir: _Path | None
    val_dir: _Path | None
    test_dir: _Path | None
    follow_links: bool | None
    val_fraction: float | None
    group_by: str | None
    on_bad_image: str | None
    label_fixes: _Path | None
    taxonomy: _Path | None
    leave_out: int | str | None
    limit_train: int | None
    limit_test: int | None
    workers: int | None
    cache: str | None


def train(*, progress: bool = True, **flags: Unpack[TrainFlags]) -> Run:
    """Train a method on a dataset, or resume a run, then measure it on the test split (with `no_test`, on `val`).

    Args:
        progress: show notes and progress on stderr, as the command does.
        flags: those of `fgvc train`, with underscores: `method`, `dataset`, `data_dir`, `preset`, `epochs`, `set`, ….

    Returns:
        The run: its folder, its measures, its model.

    Raises:
        BadRequest: a flag is wrong or the data cannot be used; nothing was started.
        FgvcError: it failed on the way. What was saved can be resumed.
    """
    console = Console(stderr=True, quiet=not progress)
    return Run(Path(trained(_checked(flags), console.note, console)["run"]))


def estimate(**flags: Unpack[TrainFlags]) -> Estimate:
    """What `train` with these flags would take: images, steps, parameters, memory, time. Nothing is written.

    BadRequest as in `train`.
    """
    console = Console(stderr=True, quiet=True)
    return estimated(_checked(flags), console.note, console)[1]


def _checked(flags: Mapping[str, Any]) -> dict[str, Any]:
    found = checked_flags(flags, TrainFlags.__annotations__, "fgvc.train")
    return found | {"sets": sets_of(found.pop("set", None))}


def trained(flags: Mapping[str, Any], note: Note, console: Console) -> dict[str, Any]:
    """Train or resume as the flags say (by name, `sets` for --set).

    Args:
        flags: name with underscores → value, None: not given.
        note: told what the user should know of the request.
        console: shows the progress.

    Returns:
        The evaluation on the test split, or with `no_test` on the validation split; `run` is the run's folder.
    """
    split = "val" if flags.get("no_test") else "test"
    if flags.get("resume") is not None:
        return _resumed(flags["resume"], flags, console, split)
    spec = asked_spec(flags, note)

    with quick_imports():
        from fgvc_cli.machine.distributed import launched
        from fgvc_cli.runs.folder import default_path
        from fgvc_cli.training.advice import preset_note
        from fgvc_cli.training.train import train

    if launched().main:
        tell(preset_note(spec), note)
    return train(spec, flags.get("out") or default_path(spec), console, split)


def estimated(flags: Mapping[str, Any], note: Note, console: Console) -> tuple[RunSpec, Estimate]:
    """The spec that the flags ask for, and what the run would take. Arguments are those of `trained`."""
    if flags.get("resume") is not None:
        raise BadRequest("--dry-run estimates a run that has not started: leave --resume out")
    spec = asked_spec(flags, note)

    with quick_imports():
        from fgvc_cli.backbones import resolved
        from fgvc_cli.runs.folder import default_path
        from fgvc_cli.training.advice import preset_note
        from fgvc_cli.training.estimate import estimate

    spec = resolved(spec)
    tell(preset_note(spec), note)
    return spec, estimate(spec, flags.get("out") or default_path(spec), console)


def _resumed(path: Path, flags: Mapping[str, Any], console: Console, split: str) -> dict[str, Any]:
    fixed = written({key: value for key, value in flags.items() if key not in _ALLOWED_ON_RESUME})
    if fixed:
        run = shlex.quote(str(path))
        raise BadRequest(
            f"a resumed run keeps its spec: leave {', '.join(fixed)} out; to train it further in another way, start a "
            f"new run from its weights, classifier and all: `fgvc train --config {run} --weights {run}` with "
            f"{', '.join(fixed)}"
        )

    from fgvc_cli.runs.folder import RunFolder

    RunFolder.open(path)  # reports a wrong path before PyTorch is loaded

    with quick_imports():
        from fgvc_cli.training.train import Machine, resume

    names = ("device", "workers", "data_dir", "cache", "compile", "track")
    return resume(path, Machine(*(flags.get(name) for name in names)), console, split)
