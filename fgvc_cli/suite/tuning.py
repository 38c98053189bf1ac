"""Pick a row's settings by the validation split: Optuna samples and prunes, a process trains each trial."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.runs.journal import read_metrics
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.suite.places import Place, each
from fgvc_cli.suite.plan import Job, Range, Row, Search, SuiteFile, Values, built, write_spec
from fgvc_cli.suite.running import Tell, run_job
from fgvc_cli.suite.search import pick, picked_text, with_picked

if TYPE_CHECKING:
    import optuna

_STARTUP = 5  # trials that are never pruned, as the median of fewer says little
_SPLIT = "val"


@dataclass(frozen=True)
class Tried:
    """A trial that has ended."""

    number: int
    picked: Values
    state: str  # complete, pruned or failed
    top1: float | None = None  # of the selected epoch, on the validation split, 0..1
    loss: float | None = None  # cross entropy, on the same images
    folder: Path | None = None


class Tuning:
    """The trials of one row, kept in `folder` whatever stops them.

    Args:
        row: its name.
        search: what is picked.
        spec_of: picked values → spec. BadRequest if they do not go together.
        folder: of the trials.
        trials: their number; fewer if the settings have fewer combinations.
        seed: of the sampler.
    """

    def __init__(
        self,
        row: str,
        search: Search,
        spec_of: Callable[[Values], RunSpec],
        folder: Path,
        trials: int,
        seed: int,
    ) -> None:
        self.row, self.search, self.spec_of, self.folder = row, search, spec_of, folder
        self.study, self._optuna = _open_study(folder, search, row, seed)
        self._lock = threading.Lock()
        grid = combinations(search)
        self.trials = trials if grid is None else min(trials, len(grid))
        if grid is not None and len(grid) <= trials:
            for values in grid:
                self.study.enqueue_trial(values, skip_if_exists=True)

    def run(self, place: Place, tell: Tell, at_once: int = 1) -> list[Tried]:
        """Train what is left of the trials, so many at once; all that have ended.

        Raises:
            FgvcError: the settings are wrong whatever is picked, as there is no validation split.
        """
        half = [one for one in self.study.get_trials(deepcopy=False) if one.state.name == "RUNNING"]
        waiting = [self._optuna.trial.Trial(self.study, one._trial_id) for one in half]

        def work(_: int) -> None:
            while (trial := self._next(waiting, place)) is not None:
                self._try(trial, place, tell)

        each(place, range(at_once), work, at_once)
        return self.tried()

    def _next(self, waiting: list[optuna.trial.Trial], place: Place) -> optuna.trial.Trial | None:
        with self._lock:
            if place.stopped:
                return None
            if waiting:
                return waiting.pop()
            begun = sum(one.state.name != "WAITING" for one in self.study.get_trials(deepcopy=False))
            return self.study.ask() if begun < self.trials else None

    def _try(self, trial: optuna.trial.Trial, place: Place, tell: Tell) -> None:
        with self._lock:
            picked = pick(trial, self.search)
        try:
            spec = self.spec_of(picked)
        except BadRequest as error:
            self._end(trial, "FAIL", reason=str(error))
            return
        job = Job(self.row, spec.train.seed, spec, self.folder / f"trial-{trial.number}", _SPLIT)
        write_spec(job)
        watched = _Watched(trial, job)
        ended = None if job.finished else run_job(job, place, tell, watched)
        if job.finished:
            result = job.run.evaluation(_SPLIT)
            top1 = result["branches"]["final"]["top1"]
            tell(job, f"{picked_text(picked)}: validation top-1 {100 * top1:.2f} %")
            self._end(trial, "COMPLETE", top1, loss=result["loss"])
        elif watched.pruned:
            tell(job, f"{picked_text(picked)}: ended, below the median")
            self._end(trial, "PRUNED")
        elif ended is not None and not place.stopped:
            if ended.code == 2:
                raise FgvcError(f"row {self.row}: {ended.reason}")
            self._end(trial, "FAIL", reason=ended.reason)

    def _end(self, trial: optuna.trial.Trial, state: str, value: float | None = None, **facts: Any) -> None:
        with self._lock:
            for name, fact in facts.items():
                trial.set_user_attr(name, fact)
            self.study.tell(trial, value, state=self._optuna.trial.TrialState[state])

    def tried(self) -> list[Tried]:
        """The trials that have ended."""
        states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        return [
            Tried(
                one.number,
                dict(one.params),
                states[one.state.name],
                one.value if one.state.name == "COMPLETE" else None,
                one.user_attrs.get("loss"),
                self.folder / f"trial-{one.number}",
            )
            for one in self.study.get_trials(deepcopy=False)
            if one.state.name in states
        ]


class _Watched:
    """Tells Optuna of a running trial's epochs, and whether to end it."""

    def __init__(self, trial: optuna.trial.Trial, job: Job) -> None:
        self.trial, self.file, self.told, self.pruned = trial, job.run.metrics_file, -1, False

    def __call__(self) -> bool:
        rows, _ = read_metrics(self.file)
        for row in rows:
            if row["epoch"] > self.told and "val_top1" in row:
                self.told = int(row["epoch"])
                self.trial.report(row["val_top1"], self.told)
        self.pruned = self.pruned or (self.told >= 0 and self.trial.should_prune())
        return self.pruned


def best_of(tried: Sequence[Tried]) -> Tried | None:
    """The trial of the highest top-1 on the validation split; of equal ones, that of the lowest loss."""
    done = [one for one in tried if one.top1 is not None]
    return max(done, key=lambda one: (one.top1, -(math.inf if one.loss is None else one.loss)), default=None)


def combinations(search: Search) -> list[Values] | None:
    """All that can be picked; None if a range is among the settings."""
    lists = [among for among in search.values() if not isinstance(among, Range)]
    if len(lists) < len(search):
        return None
    return [dict(zip(search, values, strict=True)) for values in itertools.product(*lists)]


def run_each(tunings: Sequence[Tuning], place: Place, tell: Tell) -> list[list[Tried]]:
    """The trials of all rows.

    Where several run at once the rows share the place: few trials of a row are picked before its others have ended.
    """
    share = math.ceil(place.slots / max(len(tunings), 1))
    return each(place, tunings, lambda tuning: tuning.run(place, tell, share))


def tuning_of(
    file: SuiteFile, row: Row, flags: Values, build: Callable[[Values], RunSpec], folder: Path, trials: int
) -> Tuning:
    """The tuning of a row with these flags, by the suite's first seed. BadRequest if the flags are wrong."""
    seed = file.seeds[0]
    search = file.search_of(row)
    built(build, row.name, flags | {"seed": seed})  # what is wrong without any picked value is said at once

    def spec_of(picked: Values) -> RunSpec:
        return built(build, row.name, with_picked(flags, picked) | {"seed": seed})

    return Tuning(row.name, search, spec_of, folder / row.name, trials, seed)


def _open_study(folder: Path, search: Search, row: str, seed: int) -> tuple[optuna.Study, Any]:
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise FgvcError('`fgvc tune` needs Optuna: pip install "fgvc[tune]"') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / "trials.journal"))),
        study_name=row,
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=1),
    )
    space = {name: among.model_dump() if isinstance(among, Range) else among for name, among in search.items()}
    if study.user_attrs.setdefault("search", space) != space:
        raise BadRequest(f"{folder} holds trials of other values than row {row} has now: give another --out")
    study.set_user_attr("search", space)
    return study, optuna
