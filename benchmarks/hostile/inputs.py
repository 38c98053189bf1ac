"""Mutated inputs of each kind, and the command that is given them."""

from __future__ import annotations

import copy
import gzip
import json
import os
import pickle
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hostile.material import TINY, Material, tar_bytes
from benchmarks.hostile.mutate import VALUES, copied, json_text, some_bytes, some_file, some_json
from fgvc_cli.spec.presets import PRESETS, load_preset


@dataclass(frozen=True)
class Request:
    """A command line and what it reads from the standard input."""

    arguments: list[str]
    stdin: bytes = b""


def of_spec(dice: random.Random, work: Path, sound: Material) -> Request:
    """Wrong values of fields by --set, or a wrong file by --config."""
    photos = copied(sound.photos, work / "photos")  # a damaged spec may ask for other data, which are then made there
    data = ["--dataset", "folder", "--data-dir", str(photos)]
    command = ["train", "--dry-run"] if dice.random() < 0.3 else ["summary"]
    if command == ["summary"]:
        data = data[:2]
    if dice.random() < 0.4:
        tree = copy.deepcopy(dice.choice(sound.specs))
        tree["data"]["root"] = str(photos)  # type: ignore[index]
        text = json_text(some_json(dice, tree)) if dice.random() < 0.7 else json.dumps(tree)
        encoded = text.encode("utf-8", "replace")
        (work / "spec.json").write_bytes(encoded if dice.random() < 0.7 else some_bytes(dice, encoded))
        return Request([*command, "--config", "spec.json"])
    sets = [word for _ in range(dice.choice((1, 1, 2, 3))) for word in ("--set", _assignment(dice))]
    tiny = TINY if command != ["summary"] else ["--backbone", "tiny", "--image-size", "32"]
    method = dice.choice(("baseline", "reaps", "scapnet", "apcnn", "tdsa", "clan"))
    return Request([*command, "--method", method, *data, *tiny, *sets])


def _assignment(dice: random.Random) -> str:
    """FIELD=VALUE of some field of some preset, now and then with a damaged name or value."""
    tree: Any = load_preset(dice.choice(list(PRESETS))).model_dump(mode="json")
    names = []
    while isinstance(tree, dict) and tree and (not names or dice.random() < 0.95):
        names.append(dice.choice(list(tree)))
        tree = tree[names[-1]]
    value = dice.choice(VALUES) if dice.random() < 0.8 else tree
    text = f"{'.'.join(names)}={_plain(value, dice)}"
    if dice.random() < 0.1:
        text = some_bytes(dice, text.encode("utf-8", "replace")).decode("utf-8", "surrogateescape")
    return text.replace("\0", "%")  # no command line can hold a NUL


def _plain(value: Any, dice: random.Random) -> str:
    return value if isinstance(value, str) and dice.random() < 0.5 else json.dumps(value)


def of_run(dice: random.Random, work: Path, sound: Material) -> Request:
    """A file of a run folder damaged, then a command that reads the run."""
    run = copied(dice.choice(sound.runs), work / "runs" / "run")
    files = sorted(path for path in run.rglob("*") if path.is_file())
    for _ in range(dice.choice((1, 1, 1, 2))):
        file = dice.choice([path for path in files if path.is_file() and not path.is_symlink()])
        some_file(dice, file)
    image = str(sound.images[0])
    commands = [
        ["runs", "runs"],
        ["eval", "runs/run", "--device", "cpu"],
        ["predict", image, "--run", "runs/run", "--device", "cpu"],
        ["train", "--resume", "runs/run"],
        ["report", "runs/run"],
        ["viz", "curves", "runs/run"],
        ["viz", "confusion", "runs/run"],
        ["viz", "cam", image, "--run", "runs/run"],
        ["summary", "--config", "runs/run"],
    ]
    return Request(dice.choice(commands))


def of_weights(dice: random.Random, work: Path, sound: Material) -> Request:
    """A damaged weights file, or a pickle that would run code."""
    source = dice.choice(sound.weights)
    file = work / f"weights{source.suffix}"
    content = source.read_bytes()
    if dice.random() < 0.1:
        content = pickle.dumps(_Touch()) + content
    elif source.suffix == ".safetensors" and dice.random() < 0.5:
        content = _other_header(dice, content)
    else:
        content = some_bytes(dice, content)
    file.write_bytes(content)
    if source.suffix == ".safetensors" and dice.random() < 0.5:
        return Request(["predict", str(sound.images[0]), "--run", file.name, "--device", "cpu"])
    data = ["--dataset", "folder", "--data-dir", str(sound.photos), "--limit-train", "4", "--limit-test", "2"]
    tiny = [word if word != "none" else file.name for word in TINY]
    return Request(["train", "--method", "baseline", *data, *tiny, "--epochs", "1", "--out", "out"])


class _Touch:
    """Unpickled, it would write a file outside of the working folder."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ../outside/unpickled",)


def _other_header(dice: random.Random, content: bytes) -> bytes:
    """A safetensors file with one value of its JSON header changed."""
    size = int.from_bytes(content[:8], "little")
    header = json_text(some_json(dice, json.loads(content[8 : 8 + size]))).encode("utf-8", "replace")
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def of_table(dice: random.Random, work: Path, sound: Material) -> Request:
    """A damaged annotation file of a dataset, a CSV table, or a list of images."""
    choice = dice.randrange(4)
    if choice == 0:
        images = copied(sound.images[0].parent, work / "images")
        lines = "".join(f"images/{path.name}\n" for path in sorted(images.iterdir())).encode()
        return Request(["predict", "-", "--run", str(sound.runs[0]), "--device", "cpu"], some_bytes(dice, lines))
    if choice == 1:
        rows = [
            f"{path},{path.parent.name},{dice.choice(('train', 'test'))}"
            for path in sorted(sound.photos.rglob("*.jpg"))
        ]
        table = "\n".join(["path,label,split", *rows]).encode()
        (work / "table.csv").write_bytes(some_bytes(dice, table))
        data = ["--dataset", "csv", "--data-dir", "table.csv"]
    else:
        name = dice.choice(list(sound.tables))
        home = copied(sound.tables[name], work / "home")
        files = [path for path in sorted(home.rglob("*")) if path.is_file() and path.suffix not in (".jpg", ".png")]
        some_file(dice, dice.choice(files))
        data = ["--dataset", name, "--data-dir", "home"]
    return Request(["train", "--dry-run", "--method", "baseline", *data, *TINY])


def of_image(dice: random.Random, work: Path, sound: Material) -> Request:
    """A damaged image under some name: one to predict, or one of those to train on."""
    source = dice.choice(sound.images)
    content = some_bytes(dice, source.read_bytes())
    if dice.random() < 0.2:
        photos = copied(sound.photos, work / "photos")
        (photos / "robin" / f"damaged{source.suffix}").write_bytes(content)
        bad = dice.choice(("error", "skip"))
        data = ["--dataset", "folder", "--data-dir", "photos", "--on-bad-image", bad, "--limit-train", "8"]
        return Request(["train", "--method", "baseline", *data, *TINY, "--epochs", "1", "--out", "out"])
    names = ("one", "a b", "[red]x", "=1+1", "caf\udce9", "~x", "-x", "x" * 200, "\x1b[2Jx", "日本")
    ending = dice.choice((source.suffix, source.suffix, ".png", ".jpg", ".eps", ""))
    file = work / f"{dice.choice(names)}{ending}"
    file.write_bytes(content)
    kind = dice.choice((["predict"], ["predict"], ["viz", "cam"], ["viz", "all"]))
    form = ["--format", dice.choice(("table", "json", "csv"))] if kind == ["predict"] else ["--out", "pictures"]
    return Request([*kind, f"./{file.name}", "--run", str(sound.runs[0]), *form])


def of_archive(dice: random.Random, work: Path, sound: Material) -> Request:
    """A damaged archive of CUB, or one with members that lead elsewhere."""
    source = dice.choice(sound.archives)
    target = work / source.name
    content = source.read_bytes()
    match dice.randrange(3):
        case 0:
            content = some_bytes(dice, content)
        case 1 if source.suffix == ".tgz":
            content = gzip.compress(some_bytes(dice, gzip.decompress(content)), 1)
        case _:
            content = _with_members(dice, source)
    target.write_bytes(content)
    return Request(["download-data", "cub", "--root", "data", "--from-archive", target.name, "--yes", "--offline"])


def _with_members(dice: random.Random, source: Path) -> bytes:
    """The archive with one to three odd members among its own."""
    with tarfile.open(source) as archive:
        own = [(member, _content(archive, member)) for member in archive]
    for _ in range(dice.choice((1, 1, 3))):
        own.insert(dice.randrange(len(own) + 1), _odd_member(dice))
    data = tar_bytes(own)
    return gzip.compress(data, 1) if source.suffix == ".tgz" else data


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return b"" if stream is None else stream.read()


def _odd_member(dice: random.Random) -> tuple[tarfile.TarInfo, bytes]:
    top = "CUB_200_2011"
    names = (
        "../outside/x",
        "/tmp/fgvc-soak-x",
        f"{top}/../../outside/x",
        f"{top}/images.txt",
        f"{top}/images",
        "a" * 300,
    )
    member = tarfile.TarInfo(dice.choice((*names, f"{top}/x", f"{top}/con", f"{top}/\x1b[2J", f"{top}/{'d/' * 200}x")))
    kinds = (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE,
    )
    member.type = dice.choice((tarfile.REGTYPE, tarfile.REGTYPE, *kinds))
    member.mode = dice.choice((0o644, 0o4777, 0))
    member.linkname = dice.choice(("../../outside", "/etc/passwd", f"{top}/images.txt", "."))
    content = b"x" * dice.choice((0, 10, 5_000)) if member.type == tarfile.REGTYPE else b""
    member.size = len(content)
    return member, content


KINDS: dict[str, Callable[[random.Random, Path, Material], Request]] = {
    "specs": of_spec,
    "run folders": of_run,
    "weights": of_weights,
    "tables": of_table,
    "images": of_image,
    "archives": of_archive,
}
