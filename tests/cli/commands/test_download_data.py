"""`fgvc download-data` as it is typed, against a server on 127.0.0.1."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fgvc_cli.cli.commands import download_data as command_module
from fgvc_cli.data.download.archives import BUNDLES
from fgvc_cli.data.facts import CATALOG
from tests.data.download.conftest import server  # noqa: F401
from tests.data.download.official import counts, pack_zip, serve_cars, serve_cub
from tests.data.download.server import Files
from tests.data.small_archives import write_cub


def test_every_archive_with_an_address_has_a_checksum_and_a_size() -> None:
    for bundle in BUNDLES.values():
        ways = (*bundle.ways, *((bundle.mini,) if bundle.mini else ()))
        archives = [archive for way in ways for archive in way.archives]
        for archive in archives:
            assert len(archive.md5) in (0, 32)
            assert len(archive.sha256) in (0, 64)
            assert not archive.urls or ((archive.md5 or archive.sha256) and archive.size)
            assert all(url.startswith(("https://", "http://")) for url in archive.urls)
        assert bundle.by_hand or all(archive.urls for archive in bundle.ways[0].archives)
    assert set(BUNDLES) == set(CATALOG) - {"demo", "folder", "csv"}


def test_the_catalog_and_the_command_load_no_torch() -> None:
    code = (
        "import sys; import fgvc_cli.cli.commands.download_data, fgvc_cli.data.download.archives;"
        "import fgvc_cli.data.download.install;"
        "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("flags", [(), ("--list", "cub")])
def test_the_table(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]) -> None:
    counts(monkeypatch, "cub", 3, 6, 3)
    write_cub(tmp_path / "data")
    part = tmp_path / "data" / ".fgvc-download" / "flowers" / "102flowers.tgz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1_500_000))
    answer = command("download-data", *flags)
    assert answer.code == 0
    rows = {line.split()[0]: line for line in answer.out.splitlines() if line.strip()}
    assert "complete: data/CUB_200_2011" in rows["cub"]
    assert "1.19 GB" in rows["cub"]
    assert "non-commercial" in rows["cub"]
    assert "1.5 MB downloaded so far" in rows["flowers"]
    assert "1.96 GB, by hand" in rows["cars"]
    assert rows["pets"].rstrip().endswith("no")
    assert set(BUNDLES) <= set(rows)


def test_licence_first_then_download(command, server: Files, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    serve_cub(server, monkeypatch, tmp_path / "made")
    answer = command("download-data", "cub")
    assert answer.code == 2
    assert "whether you accept the licence above: add --yes" in answer.err
    assert not server.asked
    answer = command("download-data", "cub", "--yes")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[1] == f"  licence: {CATALOG['cub'].licence}"
    assert lines[-1] == "cub is complete: data/CUB_200_2011"
    assert command("download-data", "cub", "--verify", "--hash").out.splitlines()[-2:] == [
        "cub: complete: data/CUB_200_2011",
        "  3 classes, 6 training and 3 test images; 11 images decoded",
    ]


def test_asked_at_a_terminal(command, server: Files, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    serve_cub(server, monkeypatch, tmp_path / "made")
    monkeypatch.setattr(command_module, "_at_a_terminal", lambda: True)
    answers = iter(["cub", "y"])
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    monkeypatch.setattr("typer.confirm", lambda *_, **__: next(answers) == "y")
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    answer = command("download-data")
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "cub is complete: data/CUB_200_2011"
    assert not list(answers)


def test_not_agreed(command, server: Files, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    serve_cub(server, monkeypatch, tmp_path / "made")
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert command("download-data", "cub").code == 130
    assert not server.asked


def test_where_it_goes(command, server: Files, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    serve_cub(server, monkeypatch, tmp_path / "made")
    monkeypatch.setenv("FGVC_DATA_DIR", str(tmp_path / "disk"))
    assert command("download-data", "cub", "--yes").code == 0
    assert (tmp_path / "disk" / "CUB_200_2011" / "images.txt").is_file()
    assert command("download-data", "cub", "--yes", "--root", tmp_path / "other").code == 0
    assert (tmp_path / "other" / "CUB_200_2011" / "images.txt").is_file()


@pytest.mark.parametrize("name", ["cars", "vegfru", "nabirds"])
def test_what_must_be_got_by_hand(command, name: str) -> None:
    answer = command("download-data", name, "--yes")
    assert answer.code == 2
    assert "to download by hand:\n  1. " in answer.out
    assert "https://" in answer.out
    assert f"fgvc download-data {name} --from-archive" in answer.out
    assert "cannot be downloaded, only got by hand" in answer.err
    assert command("download-data", name).err == answer.err


def test_cars_by_hand(command, server: Files, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    root = serve_cars(server, monkeypatch, tmp_path / "made")
    pack_zip(root, tmp_path / "archive.zip", ["cars_train", "cars_test"])
    labels = root / "cars_test_annos_withlabels.mat"
    answer = command("download-data", "cars", "--from-archive", "archive.zip", "--from-archive", labels)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == "cars is complete: data/stanford_cars"


def test_one_failure_does_not_stop_the_rest(command, server: Files, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    serve_cub(server, monkeypatch, tmp_path / "made")
    answer = command("download-data", "cars", "nabirds", "cub", "--yes")
    assert answer.code == 2
    assert "cub is complete" in answer.out
    assert [line.split(":")[1] for line in answer.err.splitlines() if line.startswith("fgvc: ")] == [
        " cars",
        " nabirds",
    ]


def test_ctrl_c(command, server: Files, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    serve_cub(server, monkeypatch, tmp_path / "made")
    monkeypatch.setattr("fgvc_cli.data.download.install.fetch", stop)
    answer = command("download-data", "cub", "--yes")
    assert answer.code == 130
    assert "the downloaded part is kept: run the same command again" in answer.err
    assert not (tmp_path / "data" / "CUB_200_2011").exists()


def test_verify_names_what_is_wrong(command, monkeypatch, tmp_path: Path) -> None:
    counts(monkeypatch, "cub", 3, 6, 3)
    root = write_cub(tmp_path / "data")
    image = root / "images" / "002.Laysan_Albatross" / "Laysan_Albatross_0003.jpg"
    image.write_bytes(image.read_bytes()[:300])
    (root / "train_test_split.txt").write_text("1 1\n")
    answer = command("download-data", "--verify")
    assert answer.code == 1
    assert "cub: damaged: data/CUB_200_2011" in answer.out
    assert "PROBLEM data/CUB_200_2011/images/002.Laysan_Albatross/Laysan_Albatross_0003.jpg: is no" in answer.out
    assert "PROBLEM data/CUB_200_2011/images.txt:2: image 2 has no line in train_test_split.txt" in answer.out
    assert "download it again with `fgvc download-data cub`" in answer.err


def test_verify_a_sound_part(command, tmp_path: Path) -> None:
    write_cub(tmp_path / "data")
    answer = command("download-data", "cub", "--verify")
    assert answer.code == 0
    assert "cub: a part, without errors" in answer.out
    assert "3 of 200 classes" in answer.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["cubs"], "no dataset is called 'cubs'; there are cub, cars"),
        (["demo"], "demo cannot be downloaded: it is generated by fgvc"),
        (["folder"], "folder cannot be downloaded: it is your own images"),
        (["--from-archive", "x.tgz"], "--from-archive needs exactly one dataset"),
        (["cub", "cars", "--from-archive", "x.tgz"], "--from-archive needs exactly one dataset"),
        (["cub", "--mini"], "--mini is for inat2021 only"),
        (["cub", "--hash"], "--hash needs --verify"),
        (["cub", "--verify"], "run `fgvc download-data cub`"),
        (["--verify"], "no dataset is in data"),
        (["cub", "--from-archive", "x.tgz"], "x.tgz: does not exist"),
        (["cub", "--offline"], "must be fetched, but --offline is set"),
    ],
)
def test_bad_requests(command, arguments: list[str], line: str) -> None:
    answer = command("download-data", *arguments)
    assert answer.code == 2
    assert answer.err.startswith("fgvc: ")
    assert line in answer.err
    assert len(answer.err.splitlines()) == 1


def test_training_without_data_says_the_one_command(command) -> None:
    answer = command("train", "--dataset", "cub", "--data-dir", "my data")
    assert answer.code == 2
    assert "run `fgvc download-data cub --root '" in answer.err
