"""A run from its start, or from its last checkpoint, to its evaluation; the same for every method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.calibration import calibrate_run
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.evaluation.results import kept_result
from fgvc_cli.inference.trained import EvalRequest
from fgvc_cli.machine.distributed import joined, launched, on_main, world
from fgvc_cli.machine.interrupt import listening
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import about_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import Events, Journal, MetricsFile
from fgvc_cli.spec.build import validate
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.training.epoch import asked_to_stop, stop_run, train_epoch
from fgvc_cli.training.session import Session


@dataclass(frozen=True)
class Machine:
    """What a resumed run may do differently without becoming another run."""

    device: str | None = None
    workers: int | None = None
    root: Path | None = None
    cache: str | None = None
    compile: bool | None = None

    def applied(self, spec: RunSpec) -> RunSpec:
        """`spec` on this machine. BadRequest where that makes no sense."""
        tree = spec.model_dump()
        tree["data"] |= _given(workers=self.workers, root=self.root, cache=self.cache)
        tree["train"] |= _given(device=self.device, compile=self.compile)
        return validate(tree)


def train(spec: RunSpec, out: Path, console: Console) -> dict[str, Any]:
    """Train a new run in the folder `out`. Returns its evaluation on the test split."""
    with joined(spec.train.timeout_minutes) as here:
        out, begun = on_main(lambda: (out, _begun(out, spec)))  # of a default folder each process had its own time
        console = console if here.main else Console(quiet=True)
        if begun:
            return _resume(RunFolder(out), spec, console)
        run = RunFolder(out)
        # Whatever is wrong shows before a folder is made.
        session = Session.build(run, spec, console, load_weights=True)
        with _locked(run):
            on_main(lambda: _create(run, spec))
            console.print(f"run: {run.path}", highlight=False, markup=False, soft_wrap=True)
            if spec.backbone.plain_epochs:
                del session  # its memory is for the plain network now
                session = _after_plain(run, spec, console)
            return _fit(session, console)


def _begun(out: Path, spec: RunSpec) -> bool:
    """Whether `out` holds this very run, which a restart of torchrun goes on with. BadRequest if it is in use."""
    run = RunFolder(out)
    if launched().size > 1 and run.spec_file.is_file():
        if run.spec() == spec:
            return True
        raise BadRequest(f"{out} holds a run of another spec: give another --out, or the command that it began with")
    RunFolder.unused(out)
    return False


def _create(run: RunFolder, spec: RunSpec) -> None:
    RunFolder.unused(run.path)  # another process may have begun there while this one read its data
    run.create(spec)


def _locked(run: RunFolder) -> AbstractContextManager[object]:
    """The main process holds the lock for all."""
    return run.locked() if world().main else nullcontext()


def resume(path: Path, machine: Machine, console: Console) -> dict[str, Any]:
    """Go on with a stopped or killed run from its last complete checkpoint."""
    run = RunFolder.open(path)
    spec = machine.applied(run.spec())
    with joined(spec.train.timeout_minutes) as here:
        return _resume(run, spec, console if here.main else Console(quiet=True))


def _resume(run: RunFolder, spec: RunSpec, console: Console) -> dict[str, Any]:
    with _locked(run):
        if spec.backbone.plain_epochs and not on_main(run.checkpoint_steps):
            return _fit(_after_plain(run, spec, console), console)
        return _fit(_restored(run, spec, console), console)


def _restored(run: RunFolder, spec: RunSpec, console: Console) -> Session:
    """The run where it stood at its last complete checkpoint, or at its start."""
    steps = on_main(run.checkpoint_steps)
    session = Session.build(run, spec, console, load_weights=not steps)
    if steps:
        session.restore(steps[-1])
    return session


def _after_plain(run: RunFolder, spec: RunSpec, console: Console) -> Session:
    """The run's start: the plain network is trained, in a folder within the run's, or what is left of that is done."""
    tree = spec.model_dump()
    tree |= {"method": {"name": "baseline"}, "preset": None}
    tree["train"] |= {"epochs": spec.backbone.plain_epochs, "patience": None}
    tree["backbone"] |= {"plain_epochs": 0}
    plain = validate(tree)
    if not on_main(run.plain.spec_file.is_file):
        on_main(lambda: run.plain.create(plain))
    reporter = Reporter(console)
    reporter.line(f"first the plain network, {spec.backbone.plain_epochs} epochs, to start from")
    with _locked(run.plain):
        _learn(_restored(run.plain, plain, Console(quiet=True)), reporter)
    reporter.line(f"now {spec.method.name}, {spec.train.epochs} epochs")
    return Session.build(run, spec, console, load_weights=True, plain=run.plain)


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _fit(session: Session, console: Console) -> dict[str, Any]:
    """Train from the session's position to the end, then evaluate the selected model on the test split."""
    reporter = Reporter(console)
    _learn(session, reporter)
    spec = session.spec
    machine = EvalRequest("test", device=spec.train.device, workers=spec.data.workers, root=spec.data.root)
    on_main(lambda: calibrate_run(session.run, machine, session.index, console))
    kept = on_main(lambda: _kept(session.run))
    if kept is not None:
        reporter.line(f"{session.run.path} is trained and evaluated already: nothing left to do")
        return kept
    return evaluate_run(session.run, machine, console, session.index)


def _learn(session: Session, reporter: Reporter) -> None:
    """Train from the session's position to the end."""
    for note in session.notes:
        reporter.line(f"note: {note}")
    if session.position.step == 0:
        on_main(session.record)
    else:
        reporter.line(f"resuming at epoch {session.position.epoch + 1}, step {session.position.step}")
    with listening() as wish, _writing(session) as journal:
        while not session.finished:
            train_epoch(session, journal, reporter, wish)
            if asked_to_stop(wish) and not session.finished:
                stop_run(session)
    if session.stopped_early:
        reporter.line(
            f"stopped after epoch {session.position.epoch}: "
            f"{session.stale} epochs without a better held-out top-1 than {100 * (session.best or 0):.1f} %"
        )


def _kept(run: RunFolder) -> dict[str, Any] | None:
    """What was measured on the test split, unless that was a model that training has replaced since."""
    try:
        return kept_result(run, about_model(run.model_file), "test")
    except FgvcError:
        return None


@contextmanager
def _writing(session: Session) -> Iterator[Journal]:
    """metrics.csv and events, cut back to the session's position."""
    if not world().main:
        yield Journal()
        return
    metrics = MetricsFile(session.run.metrics_file)
    metrics.cut(session.position.epoch)
    events = Events(session.run.events, session.position.step)
    try:
        yield Journal(metrics, events)
    finally:
        events.close()
