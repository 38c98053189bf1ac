"""Weights in the hub's layout, in a folder or fetched, and files as their authors ship them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fgvc_cli.backbones import build_backbone, load_backbone_weights
from fgvc_cli.backbones.preprocessing import resolved, trained_with
from fgvc_cli.backbones.weights import find_run
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.run import RunSpec

NAME = "timm:test_vit"
CONFIG = {"architecture": "test_vit", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
CONFIG["pretrained_cfg"] |= {"interpolation": "bicubic", "input_size": [3, 160, 160], "crop_pct": 0.8}  # type: ignore[operator]


def donor() -> dict[str, Tensor]:
    import timm

    torch.manual_seed(7)
    return timm.create_model("test_vit").state_dict()


def spec_of(weights: object) -> RunSpec:
    flags = {"backbone.name": NAME, "backbone.weights": str(weights)}
    sizes = {"data.image_size": "auto", "data.resize": "auto"}
    return build_spec(method="baseline", dataset="folder", flags=flags | sizes)


def write_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file(donor(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def load(weights: object, name: str = NAME) -> tuple[dict[str, Tensor], list[str]]:
    torch.manual_seed(0)
    backbone = build_backbone(name)
    notes = load_backbone_weights(backbone, BackboneSpec(name=name, weights=str(weights)))
    return backbone.trunk.state_dict(), notes


def test_a_folder_of_the_hub(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit")
    assert find_run(str(folder)) is None
    loaded, notes = load(folder)
    assert all(torch.equal(value, donor()[key]) for key, value in loaded.items())
    assert [note for note in notes if "classifier head not loaded (head.bias, head.weight)" in note]
    data = resolved(spec_of(folder)).data
    assert (data.mean, data.std, data.interpolation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")
    assert (data.image_size, data.resize) == (160, 200)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pretrained_cfg": {"mean": "x"}}', '{"pretrained_cfg": [1]}'])
def test_a_config_that_says_nothing(tmp_path: Path, text: str) -> None:
    folder = write_folder(tmp_path / "vit")
    (folder / "config.json").write_text(text)
    assert trained_with(spec_of(folder)).size == 160  # timm's own record


USELESS = {
    "std": [[0, 0, 0], [0.1, 0.2], "x", None, [float("nan")] * 3],
    "input_size": [[3, 7, 7], [3, 10**9, 10**9], [], 5, [float("inf")], {}],
    "crop_pct": [0, 1e-5, 1e-320, -1, "x", [], float("nan")],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in USELESS.items() for value in values])
def test_a_config_of_which_no_images_can_be_made(tmp_path: Path, key: str, value: object) -> None:
    folder = write_folder(tmp_path / "vit")
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": {**CONFIG["pretrained_cfg"], key: value}}))
    data = resolved(spec_of(folder)).data
    assert (data.mean, data.side) == ((0.5, 0.5, 0.5), 160)  # timm's own record


def test_a_config_that_says_a_part_and_one_of_the_first_form(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit")
    (folder / "config.json").write_text(json.dumps({"architecture": "test_vit", "mean": [0.1, 0.2, 0.3]}))
    data = resolved(spec_of(folder)).data
    assert (data.mean, data.std, data.side) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), 160)


def test_a_folder_with_a_pickled_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit")
    (folder / "model.safetensors").unlink()
    torch.save(donor(), folder / "pytorch_model.bin")
    loaded, _ = load(folder)
    assert all(torch.equal(value, donor()[key]) for key, value in loaded.items())
    torch.save({**donor(), "code": Path}, folder / "pytorch_model.bin")
    with pytest.raises(BadRequest, match="holds objects other than tensors, which are never loaded"):
        load(folder)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"has no model.safetensors: it is not a run folder"):
        load(tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with one repository, and no network."""
    import huggingface_hub.constants as constants

    commit = "0" * 40
    place = tmp_path / "hub/models--someone--vit"
    write_folder(place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs/main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_OFFLINE", True, raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_OFFLINE", True, raising=False)
    return tmp_path


def test_a_repository_that_was_fetched_before(hub: Path) -> None:
    loaded, _ = load("hf-hub:someone/vit")
    assert all(torch.equal(value, donor()[key]) for key, value in loaded.items())


def test_a_repository_that_cannot_be_fetched(hub: Path) -> None:
    with pytest.raises(FgvcError, match=r"hf-hub:someone/other: offline mode is on: .* or use --weights") as caught:
        load("hf-hub:someone/other")
    assert "\n" not in str(caught.value)
    with pytest.raises(BadRequest, match="'not/a/name' is no name on the hub"):
        load("hf-hub:not/a/name")


class Stub(BaseHTTPRequestHandler):
    """A hub with one repository that anyone may read."""

    folder: Path

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(None)

    def answer(self, body: bytes | None) -> None:
        owner, name, _, _, file = self.path.strip("/").split("/")
        path = self.folder / name / file
        if (owner, path.is_file()) == ("someone", True):
            content, headers = path.read_bytes(), {"ETag": f'"{file}"', "X-Repo-Commit": "1" * 40}
            self.send_response(200)
        else:
            error = {"gated": "GatedRepo", "someone": "EntryNotFound"}.get(owner, "RepoNotFound")
            content, headers = b"", {"X-Error-Code": error}
            self.send_response(403 if owner == "gated" else 404)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content if body is None else body)

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""


FETCH = """
import sys
from fgvc_cli.backbones.hub import config_of, fetched
for weights in sys.argv[1:]:
    try:
        file = fetched(weights)
        print(file.name, config_of(file) and config_of(file)["crop_pct"])
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_hub_that_answers_and_the_same_offline(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "served/vit")
    (tmp_path / "served/pickled").mkdir()
    torch.save(donor(), tmp_path / "served/pickled/pytorch_model.bin")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Stub,), {"folder": folder.parent}))
    Thread(target=server.serve_forever, daemon=True).start()
    home = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
    proxies = dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1")

    def said(*names: str) -> list[str]:
        command = [sys.executable, "-c", FETCH, *(f"hf-hub:{name}" for name in names)]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **home, **proxies}, timeout=120
        )
        assert done.stderr.count("Retrying") == 0
        return done.stdout.splitlines()

    *found, gated, absent, empty = said("someone/vit", "someone/pickled", "gated/vit", "none/vit", "someone/empty")
    assert found == ["model.safetensors 0.8", "pytorch_model.bin None"]
    assert gated.startswith("BadRequest weights: hf-hub:gated/vit is only for those who accepted its terms: ")
    assert absent.startswith("BadRequest weights: hf-hub:none/vit: the hub has no none/vit, or it is private: ")
    assert empty == "BadRequest weights: hf-hub:someone/empty has no model.safetensors and no pytorch_model.bin"
    server.shutdown()
    server.server_close()
    *again, other = said("someone/vit", "someone/pickled", "someone/other")
    assert again == found
    assert other.startswith("FgvcError weights: hf-hub:someone/other: the hub at http://127.0.0.1")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadRequest, match="needs the package huggingface_hub: pip install"):
        load("hf-hub:a/b")


def as_meta_ships(tensors: dict[str, Tensor], bias: float) -> dict[str, Tensor]:
    """A DINOv3 ViT of timm under the names of the authors' files, with that bias of queries, keys and values."""
    renamed = {}
    for key, value in tensors.items():
        name = (
            key.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        )
        renamed[name] = value
    renamed["mask_token"] = torch.zeros(1, tensors["cls_token"].shape[-1])
    renamed["rope_embed.periods"] = torch.ones(16)
    for key in [key for key in renamed if key.endswith("attn.qkv.weight")]:
        width = renamed[key].shape[0]
        renamed[key.replace("weight", "bias")] = torch.full((width,), bias)
        renamed[key.replace("weight", "bias_mask")] = torch.zeros(width)
    return renamed


@pytest.mark.parametrize(("bias", "left_out"), [(0.0, "rope_embed.periods"), (1.0, r".*blocks.0.attn.qkv.bias.* more")])
def test_dinov3_as_its_authors_ship_it(
    tmp_path: Path, bias: float, left_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(3)
    theirs = build_backbone("timm:vit_small_patch16_dinov3").trunk.state_dict()
    torch.save(as_meta_ships(theirs, bias), tmp_path / "dinov3_vits16_pretrain.pth")
    loaded, notes = load(tmp_path / "dinov3_vits16_pretrain.pth", "timm:vit_small_patch16_dinov3")
    assert all(torch.equal(value, theirs[key]) for key, value in loaded.items())
    assert len(notes) == 1
    assert re.search(f"left out: {left_out}$", notes[0])  # biases that are all zero change nothing
    assert capsys.readouterr().out == ""  # timm's converter prints


def test_timm_s_names_with_biases_take_those_of_dinov3(tmp_path: Path) -> None:
    own = build_backbone("timm:vit_small_patch16_dinov3").trunk.state_dict()
    torch.save(as_meta_ships(own, 0.5), tmp_path / "dinov3_vits16_pretrain.pth")
    loaded, notes = load(tmp_path / "dinov3_vits16_pretrain.pth", "timm:vit_small_patch16_dinov3_qkvb")
    assert all(loaded[f"blocks.{block}.attn.{part}_bias"].eq(0.5).all() for block in range(12) for part in "qv")
    assert not [note for note in notes if "qkv.bias" in note]


@pytest.mark.parametrize("name", ["timm:vit_small_patch14_dinov2", "timm:vit_small_patch14_reg4_dinov2"])
def test_dinov2_as_its_authors_ship_it(tmp_path: Path, name: str) -> None:
    torch.manual_seed(3)
    own = build_backbone(name).trunk.state_dict()
    theirs = {key.replace("reg_token", "register_tokens"): value for key, value in own.items()}
    theirs["mask_token"] = torch.zeros(1, 384)
    theirs["pos_embed"] = torch.randn(1, 1 + 37 * 37, 384)  # with registers, timm adds the class token's to that
    torch.save(theirs, tmp_path / "dinov2_vits14_pretrain.pth")
    loaded, notes = load(tmp_path / "dinov2_vits14_pretrain.pth", name)
    assert not [note for note in notes if "missing" in note or "shape" in note]
    first = theirs["pos_embed"][:, :1]
    for key, value in loaded.items():
        want = own[key] + first if (key, "reg4" in name) == ("cls_token", True) else own[key]
        want = theirs["pos_embed"][:, -value.shape[1] :] if key == "pos_embed" else want
        assert torch.equal(value, want), key


def test_positions_of_another_size_are_resampled(tmp_path: Path) -> None:
    tensors = donor()
    tensors["pos_embed"] = torch.randn(1, 1 + 8 * 8, tensors["pos_embed"].shape[2])
    torch.save(tensors, tmp_path / "small.pth")
    loaded, notes = load(tmp_path / "small.pth")
    assert torch.equal(loaded["blocks.0.norm1.weight"], tensors["blocks.0.norm1.weight"])
    assert not [note for note in notes if "different shape" in note]


def test_what_fits_nothing_is_refused(tmp_path: Path) -> None:
    torch.save({f"layer{i}.weight": torch.ones(2) for i in range(5)}, tmp_path / "other.pth")
    with pytest.raises(BadRequest, match=r"does not fit backbone timm:test_vit: 0 of its \d+ tensors match"):
        load(tmp_path / "other.pth")
