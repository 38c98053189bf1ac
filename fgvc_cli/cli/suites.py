"""What the commands of suites share: which rows and seeds, where they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports

if TYPE_CHECKING:
    from fgvc_cli.suite.places import Place
    from fgvc_cli.suite.plan import SuiteFile

Rows = Annotated[str | None, typer.Option(help="Only these rows, names between commas.")]
OneByOne = Annotated[bool, typer.Option("--one-by-one", help="One run at a time, also where there are several GPUs.")]
AtOnce = Annotated[
    int,
    typer.Option(min=1, help="Runs at once on each GPU, or on this machine: small networks leave a large GPU idle."),
]
Slurm = Annotated[
    bool,
    typer.Option("--slurm", help="As jobs of a Slurm cluster, with the settings of the file's table [slurm]."),
]


def with_seeds(file: SuiteFile, seeds: str | None) -> SuiteFile:
    """The suite with other seeds."""
    if seeds is None:
        return file
    words = [word.strip() for word in seeds.split(",")]
    if not all(word.isdecimal() for word in words):
        raise BadRequest(f"--seeds {seeds}: give whole numbers between commas")
    return _again(file, seeds=[int(word) for word in words])


def with_rows(file: SuiteFile, rows: str | None) -> SuiteFile:
    """The suite with fewer rows."""
    if rows is None:
        return file
    wanted = [word.strip() for word in rows.split(",")]
    known = [row.name for row in file.rows]
    odd = next((word for word in wanted if word not in known), None)
    if odd is not None:
        raise BadRequest(f"--rows: there is no row {odd!r}; the rows are {', '.join(known)}")
    left = [row for row in file.model_dump()["rows"] if row["name"] in wanted]
    return _again(file, rows=left, baseline=file.baseline if file.baseline in wanted else None)


def _again(file: SuiteFile, **changed: Any) -> SuiteFile:
    from fgvc_cli.suite.plan import SuiteFile

    return SuiteFile.model_validate(file.model_dump() | changed)


def overrides(**flags: Any) -> dict[str, Any]:
    """The flags that were given, for every row."""
    return {key: list(value) if key == "set" else value for key, value in flags.items() if value}


def place_of(file: SuiteFile, folder: Path, slurm: bool, one_by_one: bool, at_once: int) -> Place:
    """Where the suite's processes run."""
    with quick_imports():
        from fgvc_cli.suite.cluster import Cluster
        from fgvc_cli.suite.places import ThisMachine, visible_gpus

    if one_by_one and at_once > 1:
        raise BadRequest("--one-by-one and --at-once: give one of them")
    if slurm:
        return Cluster(folder / "jobs", file.slurm)
    gpus = [] if one_by_one else visible_gpus()
    return ThisMachine(gpus if len(gpus) > 1 else (), at_once)
