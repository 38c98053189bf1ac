from __future__ import annotations

import unicodedata
from pathlib import Path

from fgvc_cli.data.formats.on_disk import near_on_disk, on_disk, spelling_notes
from tests.making import noise_jpeg

NFC, NFD = (unicodedata.normalize(form, "Zaunkönig") for form in ("NFC", "NFD"))


def test_files_that_are_spelled_otherwise(tmp_path: Path) -> None:
    for name in (f"{NFD}/a.JPG", "robin/0.jpg", "robin/x.jpg", "robin/X.jpg", "top.jpg"):
        noise_jpeg(tmp_path / name)
    listed = [f"{NFC}/a.jpg", "robin/0.jpg", "Robin/0.jpg", "robin/gone.jpg", "TOP.jpg", "gone/a.jpg", "robin/X.JPG"]
    found = on_disk(tmp_path, listed)
    assert found == [f"{NFD}/a.JPG", "robin/0.jpg", "robin/0.jpg", None, "top.jpg", None, None]
    assert "3 listed files are spelled otherwise on disk" in spelling_notes(listed, found)[0]
    assert "U+00F6" in spelling_notes(listed, found)[0]
    assert spelling_notes(["robin/0.jpg"], ["robin/0.jpg"]) == ()
    assert near_on_disk(tmp_path, "robin/X.JPG").count("upper and lower case") == 2


def test_paths_that_lead_out(tmp_path: Path) -> None:
    noise_jpeg(tmp_path / "robin" / "0.jpg")
    (tmp_path / "table").mkdir()
    assert on_disk(tmp_path / "table", ["../robin/0.jpg", "../robin/1.jpg"]) == ["../robin/0.jpg", None]
