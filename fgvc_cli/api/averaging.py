"""Runs averaged into one, from a program."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fgvc_cli.api.place import RunLike, folder_of
from fgvc_cli.api.run import Run
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.terminal import Console

_Path = str | os.PathLike[str]
_KINDS = ("best", "uniform", "greedy")


def average(
    runs: Sequence[RunLike],
    out: _Path,
    *,
    kind: str = "best",
    data_dir: _Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Run:
    """Average the weights of runs of one start into a new run, as `fgvc average` does.

    Which runs are taken is chosen on the validation split, which they must share; the test split is measured once, for
    the average. `Run.averaged` tells what was measured of each.

    Args:
        runs: two or more.
        out: the new run's folder.
        kind: uniform: all; greedy: those that do not harm; best: the better of both.
        data_dir: where the data are now; None: where they were.
        device: as for `load`.
        workers: processes that load images.
        progress: show notes and progress on stderr.

    Raises:
        BadRequest: the runs do not go together, or have no validation split.
        FgvcError: a run cannot be read, or the new one cannot be written.
    """
    if kind not in _KINDS:
        raise BadRequest(f"--kind {kind}: choose {', '.join(_KINDS[:-1])} or {_KINDS[-1]}")
    folders = [folder_of(run) for run in runs]
    with quick_imports():
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.training.averages.soup import average_runs

    root = None if data_dir is None else expanded(data_dir)
    request = EvalRequest("test", device=device, workers=workers, root=root)
    average_runs(folders, expanded(out), kind, request, Console(stderr=True, quiet=not progress))  # type: ignore[arg-type]
    return Run(out)
