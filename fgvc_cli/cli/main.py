"""The command `fgvc`: one app, one file per command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from fgvc_cli import __version__
from fgvc_cli.cli.commands import (
    average,
    check_labels,
    datasets,
    doctor,
    download_data,
    embed,
    enroll,
    export,
    methods,
    predict,
    presets,
    pull,
    push,
    report,
    runs,
    serve,
    similar,
    suggest,
    suite,
    summary,
    train,
    tune,
)
from fgvc_cli.cli.commands import eval as evaluation
from fgvc_cli.cli.commands.bench import bench
from fgvc_cli.cli.commands.viz import viz
from fgvc_cli.errors import FgvcError
from fgvc_cli.machine import interrupt
from fgvc_cli.machine.memory import OUT_OF_MEMORY, SHARED_MEMORY_FULL, is_out_of_memory, share_one_heap
from fgvc_cli.streams import ReaderGone, prepared, say, tell

app = typer.Typer(
    name="fgvc",
    help="Train, evaluate and explain fine-grained image classifiers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("eval")(evaluation.evaluate)
app.command("predict")(predict.predict)
app.command("embed")(embed.embed)
app.command("similar")(similar.similar)
app.command("enroll")(enroll.enroll)
app.command("check-labels")(check_labels.check_labels)
app.command("suggest")(suggest.suggest)
app.command("export")(export.export)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("suite")(suite.suite)
app.command("tune")(tune.tune)
app.command("average")(average.average)
app.command("push")(push.push)
app.command("pull")(pull.pull)
app.command("runs")(runs.runs)
app.command("summary")(summary.summary)
app.command("methods")(methods.methods)
app.command("datasets")(datasets.datasets)
app.command("doctor")(doctor.doctor)
app.command("download-data")(download_data.download_data)
app.add_typer(viz, name="viz")
app.add_typer(presets.presets, name="presets")
app.add_typer(bench, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        from fgvc_cli.doctor.software import installed

        say(f"fgvc {__version__}, torch {installed('torch') or 'is missing'}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the versions of fgvc and PyTorch.", callback=_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train, evaluate and explain fine-grained image classifiers."""


def main() -> None:
    """Run the command line; every error becomes one plain message and an exit code."""
    share_one_heap()  # before any thread is started
    with prepared():
        code = _run()
    sys.exit(code)


def _run() -> int:
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        if code == interrupt.EXIT_CODE:  # Typer handles Ctrl-C itself and prints nothing
            raise KeyboardInterrupt
    except BaseException as error:
        if "--debug" in sys.argv:
            raise
        message, code = explain(error)
        if message == interrupt.LINE:
            interrupt.say()
        elif message and not (code == 2 and os.environ.get("RANK", "0") != "0"):  # rank 0 alone reports a bad request
            several = error.args[1:] if isinstance(error, FgvcError) else ()
            tell(message, *several)
    return code if isinstance(code, int) else 0


def explain(error: BaseException) -> tuple[str, int]:
    """The line to print for an error, and the exit code: 2 for a bad request, 1 for a failure, 130 for Ctrl-C."""
    if _interrupted(error):
        return interrupt.LINE, interrupt.EXIT_CODE
    if isinstance(error, FgvcError):
        return f"fgvc: {error.args[0]}", error.exit_code
    if isinstance(error, SystemExit):
        return "", error.code if isinstance(error.code, int) else 1
    if isinstance(error, ReaderGone):
        return "", ReaderGone.exit_code
    if hasattr(error, "format_message"):  # Typer's own errors, whose class is not public in every version
        message = error.format_message()
        return message and f"fgvc: {message} (see `fgvc --help`)", getattr(error, "exit_code", 2)
    return f"fgvc: {_unexpected(error)}", 2 if getattr(error, "errno", None) in _NO_NAME else 1


def _interrupted(error: BaseException) -> bool:
    """Whether a signal caused the error: libraries make errors of other types of KeyboardInterrupt."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return True
    return interrupt.raised() and not isinstance(error, interrupt.Stopped | SystemExit)


def _unexpected(error: BaseException) -> str:
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    text = str(error)
    for part, advice in _KNOWN:
        if part in text.lower():
            return advice
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {' '.join(text.split())} (--debug before the command shows where)"


_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)  # what was asked for can be no file
_GONE = "another process of this run ended or does not answer; its own message is printed above or below"
_KNOWN = (  # a part of the error's text in lower case, and the message to print
    ("bus error", "a worker process that loads images died: " + SHARED_MEMORY_FULL),
    ("dataloader worker", "a worker process that loads images died, probably out of memory: use fewer with --workers"),
    ("gloo", _GONE),
    ("nccl", _GONE),
    ("can't start new thread", "a thread cannot be started: the system allows no more (ulimit -u, ulimit -v)"),
)
