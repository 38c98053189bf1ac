"""`fgvc bench`: tables, JSON, and what can be got wrong."""

from __future__ import annotations

import json

import pytest

from fgvc_cli.bench import measure, photographs
from fgvc_cli.spec import methods as specs
from fgvc_cli.spec.methods import METHOD_SPECS

SMALL = ("--backbone", "tiny", "--image-size", "64", "--batch-size", "2", "--device", "cpu")
QUICK = (*SMALL, "--rounds", "1", "--steps", "1")


@pytest.fixture(autouse=True)
def _quick(monkeypatch) -> None:
    monkeypatch.setattr(measure, "_SINGLE_CALLS", 2)
    monkeypatch.setattr(photographs, "_DRAWN", 2)


def lines(answer) -> dict[str, list[str]]:
    """First word of each line of the tables → the lines."""
    found: dict[str, list[str]] = {}
    for line in answer.out.splitlines():
        if line.split():
            found.setdefault(line.split()[0], []).append(line)
    return found


def test_training(command, tmp_path) -> None:
    answer = command("bench", "train", "--method", "clan", *QUICK, "--stock", "--json", "found/all.json")
    assert answer.code == 0, answer.err
    assert "training on cpu: tiny, 64x64 pixels, batches of 2, fp32; 1 rounds of 1 steps" in answer.out
    found = lines(answer)
    assert len(found["clan"]) == len(found["stock"]) == len(found["tiny"]) == 2
    assert found["tiny"][1].split()[-3:] == ["1.00", "1.00", "1.00"]
    assert "warming up: clan" in answer.err
    told = json.loads((tmp_path / "found/all.json").read_text())
    assert told["bench"] == "train"
    assert told["machine"]["device"] == "cpu"
    assert "torch" in told["machine"]["packages"]
    assert told["settings"]["specs"][0]["method"]["name"] == "clan"
    assert told["settings"]["classes"] == 12
    (comparison,) = told["comparisons"]
    assert [row["name"] for row in comparison["rows"]] == ["tiny alone", "stock PyTorch", "clan"]
    clan = comparison["rows"][2]
    assert float(found["clan"][0].split()[1].replace(",", "")) == pytest.approx(clan["images_per_second"], rel=0.01)
    assert f"{clan['efficiency']:.2f}" == found["clan"][1].split()[-1]


def test_inference_as_json_alone(command) -> None:
    answer = command("bench", "infer", "--method", "mc", *QUICK, "--json", "-")
    told = json.loads(answer.out)
    assert [row["latency_ms"]["calls"] for row in told["comparisons"][0]["rows"]] == [2, 2]


def test_every_method_in_one_table(command, tmp_path, monkeypatch) -> None:
    names = ("baseline", "clan", "mc")
    monkeypatch.setattr(specs, "METHOD_SPECS", {name: METHOD_SPECS[name] for name in names})
    answer = command("bench", "methods", *QUICK, "--classes", "3", "--json", "all.json")
    assert answer.code == 0, answer.err
    found = lines(answer)
    for name in names:
        assert len(found[name]) == 4  # two tables of each kind
    told = json.loads((tmp_path / "all.json").read_text())
    assert [comparison["what"] for comparison in told["comparisons"]] == ["train", "infer"]
    assert told["settings"]["complete"]
    assert told["settings"]["classes"] == 3


def test_some_methods_from_files(command) -> None:
    words = ("bench", "methods", "--methods", "mc, baseline,mc", *QUICK, "--from-files", "--workers", "0")
    answer = command(*words, "--set", "data.resize=64")
    assert answer.code == 0, answer.err
    assert "mc from files: " in answer.out
    assert "baseline from files: " in answer.out
    assert "of the rate on a fixed batch" in answer.out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--batch-size", "50", "--classes", "3"), "24 training images do not fill a batch of 50: lower --batch-size"),
        (("--classes", "2"), "has 3 classes: leave --classes 2 out"),
    ],
)
def test_files_that_do_not_go_with_it(command, photos, more, words) -> None:
    answer = command("bench", "train", *QUICK, "--dataset", "folder", "--data-dir", photos, "--from-files", *more)
    assert answer.code == 2
    assert words in answer.err.splitlines()[-1]


def test_the_dearest_operations(command, tmp_path) -> None:
    answer = command("bench", "infer", "--method", "mc", *QUICK, "--profile", "traces")
    assert "mc, inference: the operations with the most self time in 3 steps" in answer.out
    assert "aten::mkldnn_convolution" in answer.out
    assert json.loads((tmp_path / "traces/infer-mc.json").read_text())["traceEvents"]


def test_what_did_not_fit_is_told_last(command, monkeypatch) -> None:
    build = measure.build_way

    def short(case, what, device):
        if case.name == "mc":
            raise MemoryError
        return build(case, what, device)

    monkeypatch.setattr(measure, "build_way", short)
    answer = command("bench", "train", "--method", "mc", *QUICK)
    assert answer.code == 1
    assert "mc: out of memory" in answer.out
    assert lines(answer)["tiny"][1].split()[-3:] == ["1.00", "1.00", "1.00"]
    assert answer.err.splitlines()[-1].startswith("fgvc: out of memory: mc (train); use a smaller --batch-size")


def test_loading_as_json(command, photos) -> None:
    words = ("--dataset", "folder", "--data-dir", photos, "--image-size", "32", "--batch-size", "4", "--workers", "0")
    answer = command("bench", "data", *words, "--rounds", "1", "--images", "8", "--json", "-")
    (found,) = json.loads(answer.out)["comparisons"]
    assert (found["what"], found["images"]) == ("data", 8)
    assert [len(row["images_per_second"]) for row in found["rows"]] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("train --method cnn", 2, "no method is called 'cnn'; there are"),
        ("methods --methods reaps,cnn", 2, "no method is called 'cnn'; there are"),
        ("methods --methods ,", 2, "no method is called ''; there are"),
        ("train --dataset folder", 2, "give the number of classes with --classes"),
        ("train --rounds 0", 2, "'--rounds'"),
        ("infer --steps 0", 2, "'--steps'"),
        ("infer --image-size 8", 2, "data.image_size: must be at least 32"),
        ("infer --json .", 2, "cannot write .: choose another --json"),
        ("infer --profile file/traces", 2, "cannot write file/traces: choose another --profile"),
        ("data --json file/a.json", 2, "cannot write file/a.json: choose another --json"),
        ("train --device cuda:99", 2, "--device cuda"),
        ("train --from-files --dataset cub", 2, "CUB-200-2011 birds not found"),
        ("train --backbone resnet18 --image-size 32 --batch-size 1 --rounds 1", 1, "use a larger --batch-size"),
    ],
)
def test_one_line_and_an_exit_code(command, tmp_path, line, code, words) -> None:
    (tmp_path / "file").write_text("")
    answer = command("bench", *line.split())
    assert answer.code == code, answer
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith("fgvc: ")
    assert words in last
    assert "Traceback" not in answer.err
