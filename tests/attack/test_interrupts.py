"""Signals at any instant: exit code 130 and one line. What was interrupted or forbidden is never called damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from fgvc_cli.backbones.build import build_backbone
from fgvc_cli.backbones.weights import load_backbone_weights
from fgvc_cli.cli.main import explain
from fgvc_cli.data.datasets import demo
from fgvc_cli.data.formats import matlab
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.confusion import Confusion, read_classes
from fgvc_cli.machine import tensor_files
from fgvc_cli.machine.interrupt import held, listening
from fgvc_cli.runs.checkpoint import about_model, load_checkpoint, load_model, save_checkpoint, save_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.backbone import BackboneSpec

ABOUT = {"spec": {}, "classes": ["a"], "epoch": 1}
KILL = "os.kill(os.getpid(), NUMBER)"
HEAD = "import os, sys, time, signal, weakref, atexit, threading\nimport fgvc_cli.__main__ as program\n"


def driven(code: str, number: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program with `code` before it, which sends the signal somewhere."""
    text = HEAD + code.replace("KILL", KILL).replace("NUMBER", str(int(number))) + "\nprogram.main()\n"
    command = [sys.executable, "-m", "driver", *(arguments or ("presets",))]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "driver.py").write_text(text)
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def is_one_line(answer: subprocess.CompletedProcess[str]) -> None:
    assert (answer.returncode, answer.stderr) == (130, "fgvc: interrupted\n")


DURING_IMPORTS = """
class Finder:
    def find_spec(name, path, target=None):
        if name == "MODULE": KILL
sys.meta_path.insert(0, Finder)
"""
IN_A_COMMAND = """
from fgvc_cli.cli import main
from fgvc_cli.cli.main import app
@app.command("work")
def work():
    BODY
"""
PLACES = {
    "at once": "KILL",
    "in the first imports": DURING_IMPORTS.replace("MODULE", "typer"),
    "in the imports of a command": DURING_IMPORTS.replace("MODULE", "fgvc_cli.spec.presets"),
    "as the last threads end": "threading.Thread(target=lambda: (time.sleep(0.7), KILL, time.sleep(2))).start()",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", PLACES)
def test_a_signal_at_any_place(place, number) -> None:
    is_one_line(driven(PLACES[place], number))


BODIES = {
    "in a command": "KILL; time.sleep(5)",
    "in code from a string": "eval('(KILL, time.sleep(5))')",
    "at exit": "atexit.register(lambda: (KILL, time.sleep(1)))",
    "in a finalizer at exit": "weakref.finalize(signal, lambda: (KILL, time.sleep(1)))",
    "twice": "threading.Timer(0.1, lambda: KILL).start()\n    try: KILL; time.sleep(5)\n    finally: time.sleep(5)",
    "in a finalizer": "x = set(); weakref.finalize(x, lambda: (KILL, time.sleep(1))); del x; time.sleep(5)",
    "in __del__": "type('A', (), {'__del__': lambda self: (KILL, time.sleep(1))})(); time.sleep(5)",
    "made into another error": "\n    try: KILL; time.sleep(5)\n    except BaseException: raise ImportError('numpy')",
    "while an error is reported": "main.explain = lambda error: (KILL, time.sleep(5)); raise ValueError",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("body", BODIES)
def test_a_signal_while_a_command_works(body, number) -> None:
    is_one_line(driven(IN_A_COMMAND.replace("BODY", BODIES[body]), number, "work"))


def test_temporary_files_are_removed_on_the_first_signal(tmp_path) -> None:
    body = "from pathlib import Path; from fgvc_cli.files import write_atomically\n"
    body += f"    write_atomically(Path({str(tmp_path / 'x')!r}), lambda path: (KILL, time.sleep(5)))"
    is_one_line(driven(IN_A_COMMAND.replace("BODY", body), signal.SIGINT, "work"))
    assert list(tmp_path.iterdir()) == []


def test_early_in_the_real_command() -> None:
    """Before its first line runs, Python itself answers; from then on the command does."""
    for delay in (0.1, 0.2, 0.4):
        command = [sys.executable, "-m", "fgvc_cli", "bench", "infer"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        time.sleep(delay)
        while process.poll() is None and not _runs_the_package(process.pid):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (130, "fgvc: interrupted\n")


def _runs_the_package(process: int) -> bool:
    """Whether the process has its own handler of SIGTERM, as far as the system can tell."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        time.sleep(0.5)
        return True
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


def test_a_forked_worker_ends_without_a_word() -> None:
    body = "child = os.fork()\n    if not child: time.sleep(5); os._exit(0)\n"
    body += "    time.sleep(0.5); os.kill(child, signal.SIGTERM)\n"  # at the fork itself Python drops signals
    body += "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    answer = driven(IN_A_COMMAND.replace("BODY", body), signal.SIGINT, "work")
    assert (answer.returncode, answer.stdout.strip(), answer.stderr) == (0, str(-signal.SIGTERM), "")


def test_the_end_of_a_command_loses_nothing_and_frees_nothing() -> None:
    """Threads end, exit functions run, all is written; what is alive then the interpreter need not free."""
    body = "main.kept = type('A', (), {'__del__': lambda self: print('freed')})()\n"
    body += "    atexit.register(print, 'exit function')\n"
    body += "    threading.Thread(target=lambda: (time.sleep(0.5), print('thread'))).start()\n"
    body += "    print('x' * 100_000); print('y', file=sys.stderr); sys.exit(3)"
    answer = driven(IN_A_COMMAND.replace("BODY", body), 0, "work")
    assert (answer.returncode, answer.stderr) == (3, "y\n")
    assert answer.stdout == "x" * 100_000 + "\nthread\nexit function\n"


def test_an_error_with_its_traceback_has_exit_code_1() -> None:
    answer = driven(IN_A_COMMAND.replace("BODY", "raise ValueError('why')"), 0, "--debug", "work")
    assert answer.returncode == 1
    assert answer.stderr.startswith("Traceback")
    assert answer.stderr.endswith("ValueError: why\n")


def test_a_pass_that_listens_hears_the_first_signal_and_the_second_interrupts() -> None:
    with listening() as wish:
        os.kill(os.getpid(), signal.SIGTERM)
        assert wish.stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert explain(ValueError("later"))[1] == 1  # the interrupt is over


def test_held_signals_come_at_the_end() -> None:
    done = []

    def work() -> None:
        with held():
            os.kill(os.getpid(), signal.SIGINT)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    with listening() as wish:
        with held():
            os.kill(os.getpid(), signal.SIGINT)
        assert wish.stop
    thread = threading.Thread(target=lambda: done.append(held().__enter__()))  # no signals there, nor an error
    thread.start()
    thread.join()
    assert len(done) == 2


def saved(tmp_path: Path, *steps: int) -> RunFolder:
    run = RunFolder(tmp_path)
    for step in steps:
        save_checkpoint(run, step, {"x": torch.full((4,), float(step)), "list": [1.5, None]}, keep=9)
    return run


def test_ctrl_c_while_a_checkpoint_is_read_is_not_damage(tmp_path, monkeypatch) -> None:
    """safetensors makes an error of its own of whatever interrupts it."""
    run = saved(tmp_path, 1)

    def interrupted(path: Path) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        except KeyboardInterrupt:
            raise SafetensorError("Error while deserializing header: incomplete metadata") from None
        return safetensors.torch.load_file(path)

    monkeypatch.setattr(tensor_files, "load_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_checkpoint(run, 1)
    save_model(tmp_path / "model.safetensors", {"w": torch.ones(2)}, ABOUT)
    with pytest.raises(KeyboardInterrupt):
        load_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_forbidden_and_failing_disks_are_not_damage(tmp_path, monkeypatch, error, name) -> None:
    run, whole = saved(tmp_path, 1), os.open

    def fails(path, *arguments, **more):
        if Path(path).name in (name, "model.safetensors"):
            raise error
        return whole(path, *arguments, **more)

    save_model(tmp_path / "model.safetensors", {"w": torch.ones(2)}, ABOUT)
    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(FgvcError, match=rf"^cannot read checkpoint .*: {error.strerror}; it is left as it is$"):
        load_checkpoint(run, 1)
    for read in (load_model, about_model):
        with pytest.raises(FgvcError, match=rf"^cannot read .*model\.safetensors: {error.strerror}$"):
            read(tmp_path / "model.safetensors")


def test_an_error_of_the_disk_inside_safetensors_is_not_damage(tmp_path, monkeypatch) -> None:
    def fails(path: Path) -> None:
        raise SafetensorError("Error while reading: I/O error: Input/output error (os error 5)")

    run = saved(tmp_path, 1)
    monkeypatch.setattr(tensor_files, "load_file", fails)
    with pytest.raises(FgvcError, match=r"^cannot read checkpoint .*: Input/output error; it is left as it is$"):
        load_checkpoint(run, 1)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("harm", ["a bit", "cut", "gone"])
def test_damage_names_the_older_checkpoint_that_will_be_used(tmp_path, name, harm) -> None:
    run = saved(tmp_path, 1, 2)
    for step, way in ((2, rf"then training goes on from {run.checkpoint(1)}"), (1, "then training starts anew, for")):
        file = run.checkpoint(step) / name
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        if harm == "gone":
            file.unlink()
        else:
            file.write_bytes(content if harm == "a bit" else content[:20])
        told = (
            rf"^checkpoint {run.checkpoint(step)} is damaged \(.*{name}.*\): delete that folder and resume again; {way}"
        )
        with pytest.raises(FgvcError, match=told):
            load_checkpoint(run, step)


def test_an_error_of_the_system_is_told_without_its_class() -> None:
    message, code = explain(PermissionError(13, "Permission denied", "runs/x/run.json"))
    assert (message, code) == ("fgvc: cannot use runs/x/run.json: Permission denied", 1)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_no_reader_calls_a_forbidden_file_damaged(tmp_path, monkeypatch, error) -> None:
    def fails(*_, **__):
        raise error

    file = tmp_path / "x"
    file.write_bytes(b"x")
    (tmp_path / "annotations.json").write_bytes(b"x")
    monkeypatch.setattr(os, "open", fails)
    monkeypatch.setattr("scipy.io.loadmat", fails)
    monkeypatch.setattr("torch.load", fails)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fails)
    backbone = build_backbone("resnet18")
    readers = [
        lambda: matlab.variable(file, "a"),
        lambda: demo.read(tmp_path),
        lambda: read_classes(file),
        lambda: Confusion.read(file, ("a", "b")),
        lambda: load_backbone_weights(backbone, BackboneSpec(name="resnet18", weights=str(file))),
        lambda: load_backbone_weights(backbone, BackboneSpec(name="resnet18", weights="imagenet")),
    ]
    for read in readers:
        with pytest.raises(FgvcError, match=error.strerror) as caught:
            read()
        assert not any(word in str(caught.value) for word in ("damage", "delete", "again", "not a"))
