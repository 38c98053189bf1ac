"""One epoch of a run: batches and optimizer steps, validation, and the choice of the model that is kept."""

from __future__ import annotations

import time
from typing import Any

from fgvc_cli.data.types import Batch
from fgvc_cli.evaluation.evaluate import evaluate
from fgvc_cli.machine.compiling import told
from fgvc_cli.machine.distributed import gathered, on_main, share_buffers, world
from fgvc_cli.machine.finite import check_values
from fgvc_cli.machine.interrupt import Stopped, Wish
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import save_model
from fgvc_cli.runs.journal import COSTS, Journal, cost_of
from fgvc_cli.training.session import Averages, Session


def train_epoch(session: Session, journal: Journal, reporter: Reporter, wish: Wish) -> None:
    """Train one epoch, evaluate on the validation split, then save: the metrics row, the model, the checkpoint last."""
    started, epoch = time.monotonic(), session.position.epoch
    session.learner.begin_epoch(epoch)
    trained = _train_batches(session, epoch, journal, reporter, wish)
    images_a_second = reporter.rate()
    session.check()  # the last step may have made weights non-finite, which no loss has shown yet
    validation = _validate(session, reporter)
    row = {
        "epoch": epoch,
        "step": session.position.step,
        "lr": session.rate(epoch),
        **cost_of(started, session.learner.device),
    }
    row |= {f"train_{name}": value for name, value in trained.items()} | validation
    journal.row(row)
    facts = ("epoch", "step", *COSTS)
    curves = {name.replace("_", "/", 1): value for name, value in row.items() if name not in facts}
    journal.scalars(curves, session.position.step)
    _select(session, epoch, validation.get("val_top1"))
    session.position.epoch, session.position.batch, session.averages = epoch + 1, 0, Averages()
    session.save()
    reporter.line(_summary(epoch, session.spec.train.epochs, row, images_a_second))


def _train_batches(session: Session, epoch: int, journal: Journal, reporter: Reporter, wish: Wish) -> dict[str, float]:
    """Train on the rest of the epoch's batches, from the session's position. Returns the epoch's mean losses."""
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
    """Forward and backward pass of a batch; an optimizer step if its group is complete. Returns whether it was."""
    position, group = session.position, session.spec.optim.accumulate
    batch = session.learner.prepared(batch)
    first, complete = position.batch - position.batch % group, _completes(position.batch, group, total)
    # Gradients are averaged over the processes, so each is weighted by its share of the batch's images.
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
    """Whether a batch is the last whose gradients are accumulated for an optimizer step."""
    return (batch + 1) % group == 0 or batch + 1 == total


def _between_steps(session: Session, wish: Wish, logged: bool) -> None:
    """Save a checkpoint if it is due; stop if asked to. Several processes ask each other only when they log."""
    every = session.spec.train.checkpoint_every
    stop = (logged or world().size == 1) and asked_to_stop(wish)
    if stop or (every and session.position.step % every == 0):
        session.save()
    if stop:
        stop_run(session)


def asked_to_stop(wish: Wish) -> bool:
    """Whether any process was asked to stop."""
    return any(gathered(wish.stop))


def stop_run(session: Session) -> None:
    """Raise Stopped with the command that resumes the run."""
    run = session.run.outermost
    raise Stopped(f"stopped and saved at step {session.position.step}; resume with: fgvc train --resume {run.typed}")


def _validate(session: Session, reporter: Reporter) -> dict[str, float]:
    """Metrics on the validation split, named val_*; empty if there is none."""
    learner, loader = session.learner, session.val_loader
    if loader is None:
        return {}
    share_buffers(learner.selected)
    reporter.begin("validation split", len(loader))
    try:
        result = evaluate(learner.measured, loader, session.spec, learner.num_classes, learner.device, reporter)
    finally:
        reporter.end()
    check_values({"val_loss": result["loss"]})
    return {"val_loss": result["loss"], **{f"val_{name}": value for name, value in result["branches"]["final"].items()}}


def _select(session: Session, epoch: int, score: float | None) -> None:
    """Save this epoch's weights as the run's model: without a validation split always, else if best on it."""
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
    val = [f"{name.replace('_', ' ')} {100 * row[name]:.1f} %" for name in ("val_top1",) if name in row]
    return "  ".join([f"epoch {epoch + 1}/{epochs}", *facts, *val, f"lr {row['lr']:.2g}", f"{rate:.0f} images/s"])
