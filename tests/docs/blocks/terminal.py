"""What answers each command of a page: ours for true, on small data; of others what can be said of them here."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3
from torch.distributed.run import get_args_parser

from tests.cli.conftest import Answer
from tests.docs.blocks.shell import Said, Shell
from tests.docs.blocks.stand_ins import placed, smaller
from tests.docs.pages import ROOT
from tests.docs.test_commands import other

SCRIPTS: dict[str, list[str] | None] = {  # of benchmarks/ → what makes it small; None: it needs the real photographs
    "apcnn_gates": [],
    "clan_memory": None,
    "clan_relation": None,
    "doubt": None,
    "frozen_features": None,
    "parts": ["--classes", "3"],
    "scenes": ["--classes", "3"],
    "serve_load": [],
    "soak": None,
    "tdsa_losses": None,
    "trained_methods": None,
    "trained_start": None,
}


def script(words: list[str]) -> str:
    """The script of benchmarks/ that a command runs; empty if it is another command."""
    found = re.match(r"python (?:-m )?benchmarks[./](\w+)", " ".join(words))
    return found[1] if found else ""


class Terminal:
    """A shell in a folder. `fgvc` runs in this process; the other names are those that pages type beside it."""

    def __init__(self, home: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
        self._home, self._command, self._monkeypatch = home, command, monkeypatch
        self._server: subprocess.Popen[str] | None = None
        self.address = ""
        monkeypatch.chdir(home)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setenv("SLURM_NNODES", "1")
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        self._answers: dict[str, Callable[[list[str], str], Said]] = {
            "fgvc": self._fgvc,
            "python": self._python,
            "torchrun": self._torchrun,
            "pip": self._pip,
            "scontrol": lambda words, given: Said(0, "localhost\n", ""),
            "hf": lambda words, given: Said(0, "", ""),  # asks for a token
            "pytest": lambda words, given: Said(0, "", ""),  # this
        }
        for name in ("curl", "jq"):
            if not shutil.which(name):
                self._answers[name] = lambda words, given: Said(0, "", "")
        self._shell = Shell(home, (*self._answers, "srun"), self._answer)

    def type(self, code: str) -> Said:
        """A block, as it is on the page but for its machine's own places."""
        code = code.replace("http://127.0.0.1:8000/", self.address or "-").replace("find /archive", "find archive")
        code = code.replace("for seed in 0 1 2", "for seed in 0")
        return self._shell.type(code)

    def close(self) -> None:
        """Ctrl-C, if a server is there."""
        if self._server:
            self._server.send_signal(signal.SIGINT)
            _, told = self._server.communicate(timeout=120)
            assert self._server.returncode == 130, told
            self._server = None

    def _answer(self, words: list[str], given: str) -> Said:
        name, *rest = words[1:] if words[0] == "srun" else words
        return self._answers[name](rest, given)

    def _fgvc(self, words: list[str], given: str) -> Said:
        words = smaller(words, self._home)
        if words[0] == "serve":
            return self._serve(words)
        stdin = io.TextIOWrapper(io.BytesIO(given.encode()))
        if words[0] == "download-data":  # it asks, at a terminal
            self._monkeypatch.setattr(stdin, "isatty", lambda: True, raising=False)
            self._monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
        self._monkeypatch.setattr(sys, "stdin", stdin)
        return Said(*self._command(*words))

    def _serve(self, words: list[str]) -> Said:
        """Start it, send a photograph, correct the answer, ask how to train with it; it goes on until the next."""
        self.close()
        command = [sys.executable, "-m", "fgvc_cli", *words]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        self.address = self._server.stdout.readline().strip()
        assert self.address, self._server.communicate()[1]
        photo = (self._home / "bird.jpg").read_bytes()
        answer = urllib3.request("POST", f"{self.address}api/images", body=photo, retries=False).json()
        known = urllib3.request("GET", f"{self.address}api/model", retries=False).json()["classes"]
        correction = f"{self.address}api/images/{answer['id']}/correction"
        urllib3.request("PUT", correction, json={"class": known[0]}, retries=False)
        asked = urllib3.request("POST", f"{self.address}api/retrain", retries=False)
        return Said(0 if asked.status == 200 else 1, f"{self.address}\n", asked.data.decode())

    def _python(self, words: list[str], given: str) -> Said:
        more = SCRIPTS[script(["python", *words])]
        if more is None:
            return Said(0, "", "")
        return self._run([sys.executable, *placed(words, self._home), *more])

    def _torchrun(self, words: list[str], given: str) -> Said:
        """Two processes on this machine; the page's own flags are parsed."""
        parsed = get_args_parser().parse_args(words)
        assert (parsed.module, parsed.training_script) == (True, "fgvc_cli"), words
        ours = smaller(parsed.training_script_args, self._home)
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fgvc_cli"]
        return self._run([sys.executable, *start, *ours])

    def _pip(self, words: list[str], given: str) -> Said:
        """Nothing is installed; the extras must be there."""
        wrong = other(["pip", *words])
        return Said(1 if wrong else 0, "", wrong)

    def _run(self, command: list[str]) -> Said:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        return Said(done.returncode, done.stdout, done.stderr)
