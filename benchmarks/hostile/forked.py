"""The command `fgvc` in a forked child: no imports to wait for, yet a process of its own that may be killed."""

from __future__ import annotations

import atexit
import importlib
import os
import pkgutil
import re
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEMORY = 6 << 30  # bytes that a command may allocate beyond what the parent process has
_INTERNAL = re.compile(r"^fgvc: \w*(Error|Exception|Warning)\b|--debug before the command", re.MULTILINE)
_WARNING = re.compile(r"^\S+\.py:\d+: \w*Warning\b", re.MULTILINE)
_EXPECTED = (0, 1, 2, 130, 141)
_HELD = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Answer:
    """What a command did. `code` is None if it was ended for taking too long; negative: it died of that signal."""

    code: int | None
    out: str
    err: str
    seconds: float

    def findings(self) -> list[str]:
        """What a command must never do, in words; empty if it behaved."""
        both = self.out + self.err
        return [
            *(["hang"] if self.code is None else []),
            *(["traceback"] if "Traceback (most recent call last)" in both else []),
            *(["internal error"] if _INTERNAL.search(self.err) else []),
            *(["a library's warning"] if _WARNING.search(self.err) else []),
            *([f"exit code {self.code}"] if self.code is not None and self.code not in _EXPECTED else []),
            *(["no message"] if self.code in (1, 2) and not self.err.strip() else []),
        ]


def preload() -> None:
    """Import all that a command may need, so that forked children start at once."""
    import fgvc_cli

    for found in pkgutil.walk_packages(fgvc_cli.__path__, "fgvc_cli."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in ("torchvision.models", "torchvision.transforms.v2", "scipy.io", "cv2", "matplotlib.pyplot"):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def start(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    anew: bool = False,
) -> int:
    """Start `fgvc ARGUMENTS` with `folder` as working folder; its output goes to OUT and ERR below `folder.parent`.

    `anew`: in a new interpreter, as a user starts it, so that a signal may meet the imports. Returns the process.
    """
    (folder.parent / "IN").write_bytes(stdin)
    for name in ("OUT", "ERR"):
        (folder.parent / name).write_bytes(b"")
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)  # until the child is what fgvc is from its first line on
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        return child
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        _redirect(folder.parent)
        os.environ.update(environment)
        have = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (have + MEMORY, have + MEMORY))
        if anew:
            os.environ["PYTHONPATH"] = str(ROOT)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
            os.execv(sys.executable, [sys.executable, "-m", "fgvc_cli", *arguments])
        sys.argv = ["fgvc", *arguments]
        code = _command()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _redirect(folder: Path) -> None:
    for number, name, mode in ((0, "IN", os.O_RDONLY), (1, "OUT", os.O_WRONLY), (2, "ERR", os.O_WRONLY)):
        handle = os.open(folder / name, mode)
        os.dup2(handle, number)
        os.close(handle)


def _command() -> int:
    from fgvc_cli.__main__ import main

    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def wait(child: int, folder: Path, limit: float, began: float) -> Answer:
    """Wait for the process for up to `limit` seconds since `began` (monotonic clock), then kill all it started."""
    code: int | None = None
    while time.monotonic() - began < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.005)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    texts = [(folder.parent / name).read_text("utf-8", "replace") for name in ("OUT", "ERR")]
    return Answer(code, *texts, seconds=time.monotonic() - began)


def run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, stdin: bytes = b"", limit: float = 90.0
) -> Answer:
    """Run `fgvc ARGUMENTS` in `folder`; ended after `limit` seconds."""
    began = time.monotonic()
    return wait(start(arguments, folder, environment, stdin), folder, limit, began)
