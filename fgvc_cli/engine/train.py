"""The training loop, the same for every method."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fgvc_cli.data.types import Batch
from fgvc_cli.engine.calibration import calibrate_run
from fgvc_cli.engine.checkpoint import about_model, save_model
from fgvc_cli.engine.compiling import told
from fgvc_cli.engine.distributed import (
    gathered,
    joined,
    launched,
    on_main,
    share_buffers,
    world,
)
from fgvc_cli.engine.evaluate import EvalRequest, evaluate, evaluate_run, kept_result
from fgvc_cli.engine.finite import check_values
from fgvc_cli.engine.interrupt import Stopped, Wish, listening
from fgvc_cli.engine.log import Events, Journal, MetricsFile, Reporter
from fgvc_cli.engine.runfolder import RunFolder
from fgvc_cli.engine.session import Averages, Session
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.spec.build import validate
from fgvc_cli.spec.run import RunSpec


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
            _epoch(session, journal, reporter, wish)
            if _wanted(wish) and not session.finished:
                _stop(session)
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


def _epoch(session: Session, journal: Journal, reporter: Reporter, wish: Wish) -> None:
    """Train one epoch, measure the held-out part, then save: row first, model next, checkpoint last."""
    started, epoch = time.monotonic(), session.position.epoch
    session.learner.begin_epoch(epoch)
    trained = _train_batches(session, epoch, journal, reporter, wish)
    images_a_second = reporter.rate()
    session.check()  # the last step of all may have broken what the losses have not seen yet
    held_out = _validate(session, reporter)
    row = {
        "epoch": epoch,
        "step": session.position.step,
        "lr": session.rate(epoch),
        "seconds": round(time.monotonic() - started, 2),
    }
    row |= {f"train_{name}": value for name, value in trained.items()} | held_out
    journal.row(row)
    facts = ("epoch", "step", "seconds")
    curves = {name.replace("_", "/", 1): value for name, value in row.items() if name not in facts}
    journal.scalars(curves, session.position.step)
    _select(session, epoch, held_out.get("val_top1"))
    session.position.epoch, session.position.batch, session.averages = epoch + 1, 0, Averages()
    session.save()
    reporter.line(_summary(epoch, session.spec.train.epochs, row, images_a_second))


def _train_batches(session: Session, epoch: int, journal: Journal, reporter: Reporter, wish: Wish) -> dict[str, float]:
    """The rest of an epoch's batches from the session's position; the epoch's mean losses."""
    position, train, total = session.position, session.spec.train, len(session.loader)
    session.learner.method.train()
    reporter.begin(f"epoch {epoch + 1}/{train.epochs}", total, position.batch)
    try:
        for batch in session.loader.epoch(epoch, position.batch):
            with told(session.learner.fresh, "the training step", reporter):
                stepped = _train_batch(session, batch, total)
                reporter.advance(session.loader.batch_images)
            logged = position.batch % train.log_every == 0 or position.batch == total
            if logged:
                means = session.averages.flush()
                reporter.facts(means)
                journal.scalars({"step/loss": means["loss"]}, position.step)
            if stepped and position.batch < total:
                _between_steps(session, wish, logged)
    finally:
        reporter.end()
    return session.averages.flush()


def _train_batch(session: Session, batch: Batch, total: int) -> bool:
    """Forward and backward of one batch; an optimizer step when its group is complete. Whether there was one."""
    position, group = session.position, session.spec.optim.accumulate
    batch = session.learner.prepared(batch)
    first, complete = position.batch - position.batch % group, _completes(position.batch, group, total)
    # Gradients are averaged over the processes: each counts by its share of the batch's images.
    share = len(batch.labels) * world().size / session.loader.batch_images / min(group, total - first)
    values = session.learner.backward(batch, share=share, complete=complete)
    session.averages.add(values, len(batch.labels))
    position.batch += 1
    if not complete:
        return False
    session.learner.update()
    position.step += 1
    return True


def _completes(batch: int, group: int, total: int) -> bool:
    """Whether a batch is the last whose gradients go into a step."""
    return (batch + 1) % group == 0 or batch + 1 == total


def _between_steps(session: Session, wish: Wish, logged: bool) -> None:
    """Save where it is time to, stop where somebody asked to; several processes ask each other only as they log."""
    every = session.spec.train.checkpoint_every
    stop = (logged or world().size == 1) and _wanted(wish)
    if stop or (every and session.position.step % every == 0):
        session.save()
    if stop:
        _stop(session)


def _wanted(wish: Wish) -> bool:
    """Whether any of the processes was asked to stop."""
    return any(gathered(wish.stop))


def _stop(session: Session) -> None:
    run = session.run.outermost
    raise Stopped(f"stopped and saved at step {session.position.step}; go on with: fgvc train --resume {run.path}")


def _validate(session: Session, reporter: Reporter) -> dict[str, float]:
    """Measures on the held-out part, named val_*; empty where there is none."""
    learner, loader = session.learner, session.val_loader
    if loader is None:
        return {}
    share_buffers(learner.selected)
    reporter.begin("held-out part", len(loader))
    try:
        result = evaluate(learner.measured, loader, session.spec, learner.num_classes, learner.device, reporter)
    finally:
        reporter.end()
    check_values({"val_loss": result["loss"]})
    return {"val_loss": result["loss"], **{f"val_{name}": value for name, value in result["branches"]["final"].items()}}


def _select(session: Session, epoch: int, score: float | None) -> None:
    """Keep this epoch's weights as the run's model: always without a held-out part, else the best on it."""
    if score is not None and session.best is not None and score <= session.best:
        session.stale += 1
        return
    session.best, session.stale = score, 0
    about = {
        "spec": session.spec.model_dump(mode="json"),
        "classes": list(session.index.classes),
        "epoch": epoch + 1,
        "val_top1": score,
        "ema": session.learner.average is not None,
    }
    on_main(lambda: save_model(session.run.model_file, session.learner.selected.state_dict(), about))


def _summary(epoch: int, epochs: int, row: dict[str, Any], rate: float) -> str:
    facts = [f"{name.removeprefix('train_')} {row[name]:.4g}" for name in row if name.startswith("train_")]
    held = [f"{name.replace('_', ' ')} {100 * row[name]:.1f} %" for name in ("val_top1",) if name in row]
    return "  ".join([f"epoch {epoch + 1}/{epochs}", *facts, *held, f"lr {row['lr']:.2g}", f"{rate:.0f} images/s"])
