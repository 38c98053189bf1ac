from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

import fgvc_cli
from fgvc_cli.data.images.names import has_image_ending, is_image_path, is_passed_over


def test_image_endings() -> None:
    assert all(has_image_ending(name) for name in ("a.jpg", "a.b.JPEG", "a.PNG", "ä.webp", "a.tiff", "a.heic"))
    assert not any(has_image_ending(name) for name in ("a.txt", "jpg", "a", "a.jpg.part", "Thumbs.db"))


@pytest.mark.parametrize(
    "path",
    [
        "._a.jpg",
        ".a.jpg",
        "robin/._a.jpg",
        "robin/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
        "__MACOSX/robin/a.jpg",
        ".Trashes/501/a.jpg",
        ".Trash-1000/files/a.jpg",
        "$RECYCLE.BIN/a.jpg",
        "#recycle/a.jpg",
        "System Volume Information/a.jpg",
        "lost+found/a.jpg",
        "robin/.ipynb_checkpoints/a-checkpoint.jpg",
        "robin/.thumbnails/a.png",
        "robin/Thumbs.db",
        "robin/notes.txt",
    ],
)
def test_what_is_never_an_image_of_the_users(path: str) -> None:
    assert not is_image_path(PurePosixPath(path))


def test_what_is_one() -> None:
    assert is_image_path(PurePosixPath("robin/2021/a.b (1).JPG"))
    assert not is_passed_over("runs")


def test_there_is_one_rule() -> None:
    """No other file of the package tells hidden names or image endings apart for itself."""
    package = Path(fgvc_cli.__file__).parent
    texts = {file.relative_to(package).as_posix(): file.read_text(encoding="utf-8") for file in package.rglob("*.py")}
    for word in ("__macosx", "@eadir", '".jpeg"', "thumbs.db"):
        assert [name for name, text in texts.items() if word in text.lower()] == ["data/images/names.py"], word
