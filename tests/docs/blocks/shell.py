"""A bash whose commands of ours are answered by a function of the test, so that a block is typed to the letter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Client, Listener
from pathlib import Path
from threading import Thread
from typing import NamedTuple

_CLIENT = """#!{python} -SE
import os, sys
from multiprocessing.connection import Client

with Client(os.environ["ASKED"]) as asked:
    given = "" if sys.stdin.isatty() else sys.stdin.read()
    asked.send(([os.path.basename(sys.argv[0]), *sys.argv[1:]], given))
    code, out, err = asked.recv()
print(out, end="", flush=True)
print(err, end="", file=sys.stderr, flush=True)
sys.exit(code)
"""


class Said(NamedTuple):
    """A command's exit code, and what it printed."""

    code: int
    out: str
    err: str


class Shell:
    """bash in a folder; `answers` gets the words and the standard input of every command of these names."""

    def __init__(self, folder: Path, names: tuple[str, ...], answers: Callable[[list[str], str], Said]) -> None:
        self._folder, self._answers = folder, answers
        self._bin = folder.parent / "bin"
        self._bin.mkdir()
        for name in names:
            client = self._bin / name
            client.write_text(_CLIENT.format(python=sys.executable))
            client.chmod(0o755)

    def type(self, code: str) -> Said:
        """Run it; it stops at the first command that fails, within pipes as well."""
        with Listener(family="AF_UNIX") as listener:
            environment = os.environ | {
                "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}",
                "ASKED": str(listener.address),
            }
            bash = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", code],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            printed: list[str] = []
            Thread(target=_until_the_end, args=(bash, listener.address, printed), daemon=True).start()
            self._serve(listener)
            return Said(bash.returncode, *printed)

    def _serve(self, listener: Listener) -> None:
        """Answer in this thread, the main one: commands set signal handlers."""
        while True:
            with listener.accept() as asked:
                request = asked.recv()
                if request is None:
                    return
                asked.send(tuple(self._answers(*request)))


def _until_the_end(bash: subprocess.Popen[str], address: object, printed: list[str]) -> None:
    printed.extend(bash.communicate())
    with Client(address) as asked:  # type: ignore[arg-type]
        asked.send(None)
