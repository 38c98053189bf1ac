"""Train a run from its start, or from its last checkpoint, and evaluate it; the same for every method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgvc_cli.backbones import contradiction, resolved, with_backbone
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.calibration import calibrate_run
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.evaluation.results import kept_result
from fgvc_cli.inference.new_photos import Named
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.machine.distributed import joined, launched, on_main, world
from fgvc_cli.machine.interrupt import Stopped, listening
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import about_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.journal import Events, Journal, MetricsFile
from fgvc_cli.runs.tracking.trackers import Outcome, check_tracker
from fgvc_cli.runs.tracking.tracking import Tracking
from fgvc_cli.spec.build import validate
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console
from fgvc_cli.training.epoch import asked_to_stop, stop_run, train_epoch
from fgvc_cli.training.features.fitting import Fitting
from fgvc_cli.training.session import Session

TEST = "test"  # the split that a finished run is evaluated on


@dataclass(frozen=True)
class Machine:
    """Settings that may change when a run is resumed; they do not make it another run."""

    device: str | None = None
    workers: int | None = None
    root: Path | None = None
    cache: str | None = None
    compile: bool | None = None
    track: str | None = None

    def applied(self, spec: RunSpec) -> RunSpec:
        """`spec` with these settings. BadRequest if they are not valid."""
        tree = spec.model_dump()
        tree["data"] |= _given(workers=self.workers, root=self.root, cache=self.cache)
        tree["train"] |= _given(device=self.device, compile=self.compile, track=self.track)
        return validate(tree)


def train(spec: RunSpec, out: Path, console: Console, split: str = TEST) -> dict[str, Any]:
    """Train a new run in the folder `out`. Returns its evaluation on a split.

    `split`: `val` while settings are being chosen, so that the test split is not looked at; BadRequest without one.
    """
    check_tracker(spec.train.track)
    spec, choice = with_backbone(spec)
    if choice is not None and launched().main:
        console.note(choice)
    spec = resolved(spec)
    with joined(spec.train.timeout_minutes) as here:
        # The default folder's name holds the time, which differs between processes.
        out, begun = on_main(lambda: (out, _begun(out, spec)))
        console = console if here.main else Console(quiet=True)
        if begun:
            return _resume(RunFolder(out), spec, console, split)
        run = RunFolder(out)
        # Errors in the request are found before a folder is created.
        session = _built(run, spec, console)
        _has(split, session)
        with _locked(run):
            on_main(lambda: _create(run, spec))
            console.print(f"run: {run.path}")
            note = contradiction(spec)
            if note is not None:
                console.print(f"note: {note}")
            if spec.backbone.plain_epochs:
                del session  # frees its memory for the plain network
                session = _after_plain(run, spec, console)
            return _fit(session, console, split)


def _built(run: RunFolder, spec: RunSpec, console: Console, *, load_weights: bool = True) -> Session | Fitting:
    """The run in memory, at its start."""
    kind = Fitting if spec.method.at_once else Session
    return kind.build(run, spec, console, load_weights=load_weights)


def _begun(out: Path, spec: RunSpec) -> bool:
    """Whether `out` holds this same run, which a restart by torchrun resumes. BadRequest if it holds anything else."""
    run = RunFolder(out)
    if launched().size > 1 and run.spec_file.is_file():
        if run.spec() == spec:
            return True
        raise BadRequest(f"{out} holds a run of another spec: give another --out or repeat the command that started it")
    RunFolder.unused(out)
    return False


def _create(run: RunFolder, spec: RunSpec) -> None:
    RunFolder.unused(run.path)  # another process may have created it while this one read the data
    run.create(spec)


def _locked(run: RunFolder) -> AbstractContextManager[object]:
    """The run's lock, which the main process holds for all."""
    return run.locked() if world().main else nullcontext()


def resume(path: Path, machine: Machine, console: Console, split: str = TEST) -> dict[str, Any]:
    """Resume a stopped or killed run from its last complete checkpoint. Returns its evaluation on a split."""
    run = RunFolder.open(path)
    if run.average_file.exists():
        raise BadRequest(f"{path} is an average of other runs: there is nothing to resume")
    spec = machine.applied(run.spec())
    check_tracker(spec.train.track)
    with joined(spec.train.timeout_minutes) as here:
        return _resume(run, spec, console if here.main else Console(quiet=True), split)


def _resume(run: RunFolder, spec: RunSpec, console: Console, split: str) -> dict[str, Any]:
    with _locked(run):
        begins = spec.backbone.plain_epochs and not on_main(run.checkpoint_steps)
        session = _after_plain(run, spec, console) if begins else _restored(run, spec, console)
        _has(split, session)
        return _fit(session, console, split)


def _has(split: str, session: Session | Fitting) -> None:
    """BadRequest if the split to evaluate on is a validation split, and there is none."""
    if split != TEST and session.index.val is None:
        raise BadRequest("--no-test evaluates on the validation split, and there is none: add --val-fraction 0.1")


def _restored(run: RunFolder, spec: RunSpec, console: Console) -> Session | Fitting:
    """The run at its last complete checkpoint, or at its start if there is none."""
    steps = on_main(run.checkpoint_steps)
    session = _built(run, spec, console, load_weights=not steps)
    if steps and isinstance(session, Session):
        session.restore(steps[-1])
    return session


def _after_plain(run: RunFolder, spec: RunSpec, console: Console) -> Session:
    """Train the plain network, or resume that, in a folder inside the run's; return the run that starts from it."""
    tree = spec.model_dump()
    tree |= {"method": {"name": "baseline"}, "preset": None}
    tree["train"] |= {"epochs": spec.backbone.plain_epochs, "patience": None, "track": None}
    tree["backbone"] |= {"plain_epochs": 0}
    plain = validate(tree)
    if not on_main(run.plain.spec_file.is_file):
        on_main(lambda: run.plain.create(plain))
    reporter = Reporter(console)
    reporter.line(f"training the plain network first, for {spec.backbone.plain_epochs} epochs")
    with _locked(run.plain):
        before = _restored(run.plain, plain, Console(quiet=True))
        assert isinstance(before, Session)
        with _writing(before, reporter) as journal:
            _learn(before, reporter, journal)
    reporter.line(f"training {spec.method.name} from its weights, for {spec.train.epochs} epochs")
    return Session.build(run, spec, console, load_weights=True, plain=run.plain)


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _fit(session: Session | Fitting, console: Console, split: str) -> dict[str, Any]:
    """Train or fit from the session's position to the end, then evaluate the selected model on a split."""
    reporter = Reporter(console)
    with _writing(session, reporter) as journal:
        if isinstance(session, Fitting):
            _fit_at_once(session, reporter, journal)
        else:
            _learn(session, reporter, journal)
        spec = session.spec
        machine = EvalRequest(split, device=spec.train.device, workers=spec.data.workers, root=spec.data.root)
        on_main(lambda: calibrate_run(session.run, machine, session.index, console))
        kept = on_main(lambda: _kept(session.run, split))
        if kept is not None:
            reporter.line(f"{session.run.path} is already trained and evaluated: there is nothing to do")
            return kept
        result = evaluate_run(session.run, machine, console, session.index)
        _record(result, session, journal)
    return result


def _fit_at_once(fitting: Fitting, reporter: Reporter, journal: Journal) -> None:
    """Fit, unless that is done."""
    if fitting.finished:
        return
    for note in fitting.notes:
        reporter.line(f"note: {note}")
    on_main(fitting.record)
    fitting.fit(journal, reporter)


def _learn(session: Session, reporter: Reporter, journal: Journal) -> None:
    """Train from the session's position to the end."""
    for note in session.notes:
        reporter.line(f"note: {note}")
    if session.position.step == 0:
        on_main(session.record)
    else:
        reporter.line(f"resuming at epoch {session.position.epoch + 1}, step {session.position.step}")
    with listening() as wish:
        while not session.finished:
            train_epoch(session, journal, reporter, wish)
            if asked_to_stop(wish):
                stop_run(session)
    if session.stopped_early:
        reporter.line(
            f"stopped early after epoch {session.position.epoch}: "
            f"val_top1 has not exceeded {100 * (session.best or 0):.1f} % for {session.stale} epochs"
        )


def _kept(run: RunFolder, split: str) -> dict[str, Any] | None:
    """The stored result of a split, unless training has replaced the model since."""
    try:
        return kept_result(run, about_model(run.model_file), Named(split))
    except FgvcError:
        return None


@contextmanager
def _writing(session: Session | Fitting, reporter: Reporter) -> Iterator[Journal]:
    """Open metrics.csv and the TensorBoard events, cut back to the position of the run, and the tracker, if any.

    All processes but the main one get a journal that writes nothing.
    """
    run, (epoch, step) = session.run, _position(session)  # which all processes must ask together
    if not world().main:
        yield Journal()
        return
    metrics = MetricsFile(run.metrics_file)
    metrics.cut(epoch)
    track = session.spec.train.track
    tracking = Tracking(run, session.spec, reporter.line) if track is not None else None
    events = Events(run.events, step)
    outcome: Outcome = "failed"
    try:
        yield Journal(metrics, events, tracking)
        outcome = "finished"
    except (Stopped, KeyboardInterrupt):
        outcome = "stopped"
        raise
    finally:
        events.close()
        if tracking is not None:
            tracking.close(outcome)


def _position(session: Session | Fitting) -> tuple[int, int]:
    """Epochs and optimizer steps that are done."""
    if isinstance(session, Fitting):
        return (1, 1) if session.finished else (0, 0)
    return session.position.epoch, session.position.step


def _record(result: dict[str, Any], session: Session | Fitting, journal: Journal) -> None:
    """Write the measures of the finished run, named as those of the validation split, and send its pictures."""
    split, (_, step) = result["split"], _position(session)
    measures = {"loss": result["loss"], **result["branches"]["final"]}
    journal.scalars({f"{split}/{name}": value for name, value in measures.items() if value is not None}, step)
    drawn = [file for file in result["files"].values() if file.endswith(".png")]
    names = {file: Path(file).stem.removeprefix(f"{split}-") for file in drawn}
    journal.pictures({f"{split}/{names[file]}": session.run.path / file for file in drawn}, step)
