"""Every method of the table is served through the interface alone: answers, every kind of picture, corrections."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from fgvc_cli.inference.look import open_model
from fgvc_cli.serve.limits import Limits
from fgvc_cli.spec.methods import METHOD_SPECS
from tests.conftest import small_spec, untrained
from tests.serve.conftest import serving

CLASSES = ("blue", "green", "red")


@pytest.mark.parametrize("most", [1, pytest.param(None, marks=pytest.mark.slow)], ids=["one kind", "all kinds"])
@pytest.mark.parametrize("method", METHOD_SPECS)
def test_every_method_is_served(method: str, most: int | None, photos: Path, photo: bytes, tmp_path: Path) -> None:
    file = untrained(small_spec(photos, method), CLASSES, tmp_path / "model.safetensors")
    with serving(open_model(file), tmp_path / "served", Limits(together=2)) as client:
        status, given = client.send(photo, "a.png")
        assert status == 200
        assert {guess["class"] for guess in given["top"]} == set(CLASSES)
        notes = client.json("GET", "/api/model")[1]["notes"]
        assert [note.partition(":")[0] for note in notes] == [
            "no answer is called unsure",
            "no image is called unknown",
            "no similar training images are shown",
        ]
        for kind in client.json("GET", "/api/model")[1]["kinds"][:most]:
            picture = client.ask("GET", f"/api/images/{given['id']}/why/{kind}")
            assert picture.status == 200, picture.data
            assert Image.open(io.BytesIO(picture.data)).format == "PNG"
        assert client.json("PUT", f"/api/images/{given['id']}/correction", {"class": "red"})[0] == 200
        assert client.ask("GET", "/").status == 200
