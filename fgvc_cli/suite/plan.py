"""A suite's file: rows of settings, seeds, and the runs that follow."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import read_text, write_json
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.complaints import readable
from fgvc_cli.spec.flags import FIELDS
from fgvc_cli.spec.run import RunSpec

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .,+()_-]*$", max_length=80)]
Values = dict[str, Any]


class Range(BaseModel):
    """Numbers from which `fgvc tune` picks: whole ones if both ends and the step are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: int | float
    high: int | float
    log: bool = Field(False, description="pick the logarithm evenly; for positive numbers")
    step: Annotated[int | float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be less than high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs positive numbers and no step")
        return self


Choices = Annotated[list[bool | int | float | str], Field(min_length=1)]
Search = dict[str, Range | Choices]  # by flag, or by field of the spec


class Row(BaseModel):
    """One row of the table: the flags of `fgvc train` beside its name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Name
    published: float | None = Field(None, description="the paper's number, in per cent")
    search: Search = Field({}, description="what `fgvc tune` picks for this row")

    @property
    def flags(self) -> Values:
        """The flags, by their names with underscores."""
        return {key.replace("-", "_"): value for key, value in (self.model_extra or {}).items()}


class SuiteFile(BaseModel):
    """A suite as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = ""
    baseline: str | None = Field(None, description="the row that others are compared with; none: the first")
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1000)] = [0, 1, 2]
    defaults: Values = Field({}, description="flags of every row, unless it has its own")
    search: Search = Field({}, description="what `fgvc tune` picks for every row, unless it has its own")
    slurm: Values = Field({}, description="settings of the jobs of a cluster: submitit's parameters")
    rows: Annotated[list[Row], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [row.name for row in self.rows]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two rows are called {twice!r}")
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(f"baseline {self.baseline!r} is none of the rows: {', '.join(names)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must differ")
        return self

    def search_of(self, row: Row) -> Search:
        """What is picked for a row."""
        return self.search | row.search

    def flags_of(self, row: Row) -> Values:
        """A row's flags, with those of every row."""
        flags = {key.replace("-", "_"): value for key, value in self.defaults.items()} | row.flags
        return flags | {"set": [*_listed(self.defaults.get("set")), *_listed(row.flags.get("set"))]}

    @property
    def reference(self) -> str:
        """The name of the row that others are compared with."""
        return self.baseline or self.rows[0].name


@dataclass(frozen=True)
class Job:
    """One run of a suite."""

    row: str
    seed: int
    spec: RunSpec
    folder: Path  # of the run
    split: str = "test"  # that it is evaluated on

    @property
    def run(self) -> RunFolder:
        """The run."""
        return RunFolder(self.folder)

    @property
    def spec_file(self) -> Path:
        """The spec that it starts from, before what is `auto` is resolved."""
        return self.folder.with_name(f"{self.folder.name}.json")

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def finished(self) -> bool:
        """Whether it is trained and evaluated."""
        return self.run.evaluation_file(self.split).is_file()

    @property
    def label(self) -> str:
        """Row and seed for messages."""
        return f"{self.row}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A suite and its runs."""

    file: SuiteFile
    jobs: tuple[Job, ...]
    out: Path

    def of_row(self, row: str) -> list[Job]:
        """A row's runs, by seed."""
        return [job for job in self.jobs if job.row == row]


def read_suite(text: str, source: str) -> SuiteFile:
    """A suite of TOML. BadRequest, one line per wrong field."""
    try:
        return suite_of(tomllib.loads(text), source)
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"{source} is not valid TOML: {error}") from None


def suite_of(values: Mapping[str, Any], source: str) -> SuiteFile:
    """A suite of what its file would hold. BadRequest, one line per wrong field."""
    try:
        return SuiteFile.model_validate(values)
    except ValidationError as error:
        raise BadRequest(*(f"{source}: {line.removeprefix('spec: ')}" for line in readable(error, SuiteFile))) from None


def open_suite(name: str) -> tuple[SuiteFile, str]:
    """The suite in a file, or one that ships, and its text. BadRequest if there is neither."""
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise BadRequest(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
        return read_suite(text, str(path)), text
    if name not in shipped():
        raise BadRequest(f"there is no suite {name}: name a .toml file or one of {', '.join(shipped())}")
    text = (files("fgvc_cli.suite") / "shipped" / f"{name.replace('/', '-')}.toml").read_text(encoding="utf-8")
    return read_suite(text, name), text


def with_seeds(file: SuiteFile, seeds: Sequence[int] | None) -> SuiteFile:
    """The suite with other seeds; None: with its own."""
    return file if seeds is None else suite_of(file.model_dump() | {"seeds": list(seeds)}, "--seeds")


def with_rows(file: SuiteFile, rows: Sequence[str] | None) -> SuiteFile:
    """The suite with these rows alone; None: with all. A name with commas may come in pieces, as a flag gives it."""
    if rows is None:
        return file
    wanted = _whole_names(rows, [row.name for row in file.rows])
    left = [row for row in file.model_dump()["rows"] if row["name"] in wanted]
    baseline = file.baseline if file.baseline in wanted else None
    return suite_of(file.model_dump() | {"rows": left, "baseline": baseline}, "--rows")


def _whole_names(rows: Sequence[str], known: Sequence[str]) -> list[str]:
    """The known rows that are named, commas in names or not: of two that begin alike, the longer one that fits."""
    by_pieces = {tuple(_pieces(name)): name for name in known}
    pieces = [piece for name in rows for piece in _pieces(name)]
    found: list[str] = []
    at = 0
    while at < len(pieces):
        ends = (end for end in range(len(pieces), at, -1) if tuple(pieces[at:end]) in by_pieces)
        end = next(ends, None)
        if end is None:
            raise BadRequest(f"--rows: there is no row {pieces[at]!r}; the rows are {'; '.join(known)}")
        found.append(by_pieces[tuple(pieces[at:end])])
        at = end
    return found


def _pieces(name: str) -> list[str]:
    return [piece.strip() for piece in name.split(",")]


def shipped() -> list[str]:
    """The names of the suites that ship, such as tdsa/table3."""
    found = (entry.name for entry in (files("fgvc_cli.suite") / "shipped").iterdir())
    return sorted(name.removesuffix(".toml").replace("-", "/", 1) for name in found if name.endswith(".toml"))


def plan(file: SuiteFile, out: Path, overrides: Mapping[str, Any], build: Callable[[Values], RunSpec]) -> Plan:
    """The runs of a suite, row after row.

    Args:
        file: the suite.
        out: their folder.
        overrides: flags of every row, which win over its own.
        build: the spec of flags.

    Raises:
        BadRequest: a row's settings are wrong; it is named.
    """
    jobs = []
    for row in file.rows:
        if file.search_of(row):
            raise BadRequest(f"row {row.name} has values to search: `fgvc tune` picks them and writes a suite of them")
        flags = file.flags_of(row)
        for seed in file.seeds:
            spec = built(build, row.name, with_overrides(flags, overrides) | {"seed": seed})
            jobs.append(Job(row.name, seed, spec, out / row.name / f"seed-{seed}"))
    return Plan(file, tuple(jobs), out)


def built(build: Callable[[Values], RunSpec], row: str, flags: Values) -> RunSpec:
    """The spec of flags. BadRequest, with the row's name, if they are wrong."""
    try:
        return build(flags)
    except BadRequest as error:
        raise BadRequest(*(f"row {row}: {line}" for line in error.args)) from None


def with_overrides(flags: Values, overrides: Mapping[str, Any]) -> Values:
    """Flags with others that win over them, and over their `set`; another `set` is added to it."""
    won = {FIELDS[name] for name in overrides if name in FIELDS}
    kept = [one for one in _listed(flags.get("set")) if str(one).partition("=")[0].strip() not in won]
    return flags | dict(overrides) | {"set": [*kept, *_listed(overrides.get("set"))]}


def _listed(value: object) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def write_specs(plan: Plan) -> None:
    """Write the spec of every run beside its folder. BadRequest if another is there: the suite has changed since."""
    for job in plan.jobs:
        write_spec(job)


def write_spec(job: Job) -> None:
    """Write the spec of a run beside its folder. BadRequest if another is there: the settings have changed since."""
    from fgvc_cli.runs.schema import RunJson, read_file

    tree = job.spec.model_dump(mode="json")
    if not job.spec_file.exists():
        job.spec_file.parent.mkdir(parents=True, exist_ok=True)
        write_json(job.spec_file, tree)
    elif read_file(job.spec_file, RunJson) != tree:
        raise BadRequest(
            f"{job.folder} was started with other settings than row {job.row} has now: give another --out, or delete it"
        )
