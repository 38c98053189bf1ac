"""Every file of a run, changed at random: no command fails with anything but one line that names the file."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fgvc_cli.errors import FgvcError
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.schema import EvalResult, parsed

MUTATIONS = 7  # of each file
ODD = [None, -1, 10**20, 1.5, 1e308, "x", "", "../../x", True, [], {}, [[]], [None], {"a": 1}, "1", float("nan")]
TEXT = ["", "[", "nul", "\0", "[" * 3000 + "]" * 3000, "9" * 5000, "{}", "[]", '"x"', "\ufeff{}"]
LINES = ["", "x", "-1", "1e999", "1_0", "9" * 30, "nan", "1,2,3,4,5,6,7,8,9,10,11,12,13", '"', "\0", "=1+1"]


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all nodes of a JSON tree, the tree itself included."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [path, *(place for key in keys for place in places(tree[key], (*path, key)))]


def changed_tree(tree: Any, dice: random.Random) -> Any:
    """The tree with one node replaced or removed."""
    path = dice.choice(places(tree))
    if not path:
        return dice.choice(ODD)
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    if dice.random() < 0.2:
        del parent[path[-1]]
    else:
        parent[path[-1]] = dice.choice(ODD)
    return tree


def change_json(file: Path, dice: random.Random) -> None:
    if dice.random() < 0.2:
        file.write_text(dice.choice(TEXT))
    else:
        file.write_text(json.dumps(changed_tree(json.loads(file.read_text()), dice)))


def change_csv(file: Path, dice: random.Random) -> None:
    rows = [line.split(",") for line in file.read_text().splitlines()]
    row = dice.choice(rows)
    if dice.random() < 0.2:
        rows.remove(row)
    else:
        row[dice.randrange(len(row))] = dice.choice(LINES)
    file.write_text("\n".join(map(",".join, rows)) + "\n")


def change_bytes(file: Path, dice: random.Random) -> None:
    content = bytearray(file.read_bytes())
    place = dice.randrange(len(content))
    file.write_bytes(content[:place] + dice.choice([b"", b"\xff\xfe", content[place + 1 :]]))


def change_metadata(file: Path, dice: random.Random) -> None:
    with safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()["fgvc"])
    save_file(load_file(file), file, {"fgvc": json.dumps(changed_tree(about, dice))})


def change_state(file: Path, dice: random.Random) -> None:
    """A checkpoint of an older version has no checksums: its values are all that there is to check."""
    tree = json.loads(file.read_text())
    del tree["$checksums"]
    file.write_text(json.dumps(changed_tree(tree, dice)))


STATE = "checkpoints/*/state.json"
CHANGES = [
    ("run.json", change_json, ["runs", "report", "resume"]),
    ("classes.json", change_json, ["report", "resume"]),
    ("splits.json", change_json, ["report", "eval"]),
    ("environment.json", change_json, ["report"]),
    ("calibration.json", change_json, ["report", "resume"]),
    ("eval/test.json", change_json, ["runs", "report", "resume", "confusion"]),
    ("eval/test.json", change_bytes, ["runs", "report"]),
    ("eval/test-classes.csv", change_csv, ["report"]),
    ("eval/test-confusion.csv", change_csv, ["report", "confusion"]),
    ("metrics.csv", change_csv, ["runs", "report", "resume"]),
    ("metrics.csv", change_bytes, ["runs", "report"]),
    ("model.safetensors", change_metadata, ["report", "eval"]),
    ("model.safetensors", change_bytes, ["eval"]),
    (STATE, change_state, ["resume"]),
    (STATE, change_bytes, ["resume"]),
]
COMMANDS = {
    "runs": "runs runs",
    "report": "report runs/run --sample 0 --force --device cpu",
    "resume": "train --resume runs/run",
    "eval": "eval runs/run --json",
    "confusion": "viz confusion runs/run --force --dpi 40",
}


def is_told(answer: Any) -> None:
    """Done, or one line for the user."""
    assert answer.code in (0, 1, 2), answer
    assert "Traceback" not in answer.err
    assert "(--debug before the command shows where)" not in answer.err, answer.err
    assert "internal" not in answer.err
    if answer.code:
        messages = [line for line in answer.err.splitlines() if line.startswith("fgvc: ")]
        assert len(messages) == 1, answer.err
        assert messages[0] == answer.err.splitlines()[-1]


@pytest.mark.parametrize(("name", "change", "commands"), CHANGES, ids=[f"{c[0]} {c[1].__name__}" for c in CHANGES])
def test_no_change_of_a_file_is_an_internal_error(command, whole_run, tmp_path, name, change, commands) -> None:
    for seed in range(MUTATIONS):
        dice = random.Random(f"{name} {change.__name__} {seed}")
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        run = Path(shutil.copytree(whole_run, tmp_path / "runs" / "run"))
        change(next(run.glob(name)), dice)
        for short in commands:
            try:
                is_told(command(*COMMANDS[short].split()))
            except BaseException as error:
                error.add_note(f"seed {seed}, {short}: {next(run.glob(name)).read_bytes()[:2000]!r}")
                raise


def test_one_damaged_run_leaves_the_others_in_the_list(command, run) -> None:
    for number, (name, text) in enumerate(
        [
            ("run.json", '{"schema_version": "x"}'),
            ("eval/test.json", '{"branches": {"final": {"top1": "high"}}}'),
            ("eval/test.json", '{"branches": 3}'),
            ("metrics.csv", "epoch\n\xff\n"),
        ]
    ):
        shutil.copytree(run, run.with_name(f"bad{number}"))
        (run.with_name(f"bad{number}") / name).write_text(text, encoding="latin-1")
    answer = command("runs")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert sum(" %" in line for line in lines) == 2  # the whole run and the one without readable metrics
    assert sum("(cannot be read)" in line for line in lines) == 4
    notes = answer.err.splitlines()
    assert len(notes) == 4
    assert all("cannot read runs/bad" in note for note in notes)
    assert any("bad1/eval/test.json: run: must be given (and " in note for note in notes)


def test_the_file_and_the_field_are_named(run) -> None:
    folder = RunFolder(run)
    (run / "classes.json").write_text('["a", 3]')
    with pytest.raises(FgvcError, match=r"^cannot read .*classes\.json: 1: must be text \(got 3\)$"):
        folder.classes()
    (run / "splits.json").write_text("[" * 100_000)
    with pytest.raises(FgvcError, match=r"^cannot read .*splits\.json: it is not valid JSON"):
        folder.splits()
    (run / "splits.json").write_text("[]")
    with pytest.raises(FgvcError, match=r"^cannot read .*splits\.json: must be a section with fields"):
        folder.splits()
    (run / "run.json").write_text('{"train": {"epochs": "many", "seed": "s"}}')
    with pytest.raises(FgvcError, match=r"^cannot read .*run\.json: train\.epochs: .* \(and 1 more\)$"):
        folder.spec()


def test_results_cannot_name_files_outside_the_run(run) -> None:
    result = json.loads((run / "eval/test.json").read_text())
    for name in ("/etc/passwd", "../other/eval/test-classes.csv"):
        result["files"]["classes"] = name
        with pytest.raises(ValueError, match=r"files\.classes"):
            parsed(json.dumps(result), EvalResult)


def test_wrong_results_are_measured_anew(command, run) -> None:
    before = json.loads((run / "eval/test.json").read_text())
    (run / "eval/test.json").write_text(json.dumps(before | {"images": "nine"}))
    answer = command("train", "--resume", run)
    assert answer.code == 0
    after = json.loads((run / "eval/test.json").read_text())
    assert after | {"run": ""} == before | {"run": ""}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "eval/test.json", "model.safetensors"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(command, run, name) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    for line in ("runs runs", "report runs/run --sample 0 --force", "eval runs/run --json"):
        is_told(command(*line.split()))
    assert stat.S_ISFIFO((run / name).stat().st_mode) or name == "eval/test.json"


def test_a_checkpoint_of_the_first_version_still_resumes(command, run) -> None:
    file = next(run.glob(STATE))
    tree = json.loads(file.read_text())
    assert tree.pop("$checksums").keys() == {"state.json", "state.safetensors"}
    file.write_text(json.dumps(tree))
    shutil.rmtree(run / "eval")
    answer = command("train", "--resume", run)
    assert answer.code == 0, answer.err


def test_tensors_of_another_shape_are_told(command, run) -> None:
    file = next(run.glob("checkpoints/*/state.safetensors"))
    tree = json.loads(file.with_name("state.json").read_text())
    del tree["$checksums"]
    file.with_name("state.json").write_text(json.dumps(tree))
    tensors = load_file(file)
    momentum = next(name for name in tensors if name.startswith("/optimizer/state/0"))
    save_file(tensors | {momentum: torch.zeros(1, 2)}, file)
    answer = command("train", "--resume", run)
    assert answer.code == 1
    assert "does not fit the run's spec and images (optimizer.state.0." in answer.err.splitlines()[-1]
