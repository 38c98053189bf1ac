from __future__ import annotations

import json

import pytest
import torch

from fgvc_cli import files
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.runs.checkpoint import join_tree, load_checkpoint, load_model, save_checkpoint, save_model, split_tree
from fgvc_cli.runs.folder import RunFolder


def state_of(optimizer_name: str) -> dict:
    """A model's and an optimizer's state after a step, as a run saves it."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    optimizer = getattr(torch.optim, optimizer_name)(model.parameters(), lr=0.1)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "best": None,
        "number": 1e-300,
        "nested": [1, [2.5, True], {"a": "b"}],
        "empty": {},
    }


def assert_equal(a, b) -> None:
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b
        assert type(a) is type(b)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_state_comes_back_to_the_bit(tmp_path, optimizer) -> None:
    run, state = RunFolder(tmp_path), state_of(optimizer)
    save_checkpoint(run, 12, state)
    assert_equal(state, load_checkpoint(run, 12))


def test_no_pickle_is_written(tmp_path) -> None:
    save_checkpoint(RunFolder(tmp_path), 3, state_of("SGD"))
    assert sorted(path.name for path in (tmp_path / "checkpoints" / "00000003").iterdir()) == [
        "state.json",
        "state.safetensors",
    ]


def test_split_and_join_are_inverse() -> None:
    tensors: dict = {}
    tree = {"a": torch.arange(3), "b": {0: torch.ones(1), 1: "x"}, "c": [torch.zeros(())]}
    plain = split_tree(tree, tensors)
    assert_equal(tree, join_tree(json.loads(json.dumps(plain)), tensors))


def test_old_checkpoints_go_only_after_the_new_one_is_whole(tmp_path, monkeypatch) -> None:
    run = RunFolder(tmp_path)
    save_checkpoint(run, 1, {"x": 1})
    save_checkpoint(run, 2, {"x": 2})
    assert run.checkpoint_steps() == [2]

    def full_disk(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full_disk)
    with pytest.raises(FgvcError, match=r"disk is full.*--resume.*saved before is intact"):
        save_checkpoint(run, 3, {"x": 3})
    assert run.checkpoint_steps() == [2]
    assert load_checkpoint(run, 2) == {"x": 2}
    assert not list(run.checkpoints.glob(".writing-*"))


def test_keep_more_than_one(tmp_path) -> None:
    run = RunFolder(tmp_path)
    for step in range(5):
        save_checkpoint(run, step, {"x": step}, keep=3)
    assert run.checkpoint_steps() == [2, 3, 4]


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_a_damaged_checkpoint_is_named(tmp_path, name) -> None:
    run = RunFolder(tmp_path)
    save_checkpoint(run, 1, {"x": torch.ones(4)})
    file = run.checkpoint(1) / name
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(FgvcError, match=r"is damaged .* delete that folder"):
        load_checkpoint(run, 1)


def test_a_model_file_alone_tells_what_it_is(tmp_path) -> None:
    file = tmp_path / "model.safetensors"
    weights = {"w": torch.randn(2, 3)}
    save_model(file, weights, {"spec": {}, "classes": ["é", "b"], "epoch": 3})
    read, about = load_model(file)
    assert torch.equal(read["w"], weights["w"])
    assert about == {"spec": {}, "classes": ["é", "b"], "epoch": 3}


def test_other_files_are_no_models(tmp_path) -> None:
    with pytest.raises(BadRequest, match="there is no trained model"):
        load_model(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(BadRequest, match="is not a model saved by fgvc"):
        load_model(tmp_path / "text")


def test_leftovers_of_a_killed_process_are_removed(tmp_path) -> None:
    (tmp_path / ".writing-abc").mkdir()
    (tmp_path / ".writing-def").write_text("half")
    (tmp_path / "kept").write_text("whole")
    files.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    file = tmp_path / "a.json"
    files.write_json(file, 1)

    def fails(path) -> None:
        path.write_text("half")
        raise PermissionError(13, "denied")

    with pytest.raises(FgvcError, match="not writable"):
        files.write_atomically(file, fails)
    assert file.read_text() == "1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
