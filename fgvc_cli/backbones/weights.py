"""Starting weights of a backbone: ImageNet, a file, or a run of fgvc. Nothing is ever unpickled beyond tensors."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fgvc_cli.backbones.network import Backbone
from fgvc_cli.backbones.timm_models import TimmBackbone
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.spec.backbone import BackboneSpec

RUN_FILE = "model.safetensors"
RUN_METADATA = "fgvc"  # metadata key of a safetensors file that fgvc wrote
_PREFIXES = ("module.", "backbone.", "trunk.")
_NESTED = ("state_dict", "model", "model_state_dict")
_HEADS = ("fc.", "classifier.", "head.")
_TIMEOUT = 30.0  # seconds without an answer until a download counts as failed
_FIT = 0.9  # least share of the trunk's tensors that a file must have, else it is another architecture's


@dataclass(frozen=True)
class RunWeights:
    """The weights of a run of fgvc: a file whose metadata says which method and backbone it is of."""

    file: Path
    method: str | None
    backbone: str | None

    def tensors(self) -> dict[str, Tensor]:
        """State-dict name → tensor of the whole method."""
        return _read_safetensors(self.file)


def find_run(weights: str) -> RunWeights | None:
    """The run that `weights` means (a run folder, or a safetensors file with fgvc's metadata); none: it is no run.

    Raises:
        BadRequest: no such file, or a folder that is no run.
    """
    if weights in ("none", "imagenet"):
        return None
    path = Path(weights).expanduser()
    if path.is_dir():
        if not (path / RUN_FILE).is_file():
            raise BadRequest(f"weights: {path} has no {RUN_FILE}: it is not the folder of a run with a finished epoch")
        path /= RUN_FILE
    elif not path.is_file():
        raise BadRequest(f"weights: there is no file or folder {path}")
    elif path.suffix != ".safetensors":
        return None
    recorded = _read_metadata(path).get(RUN_METADATA)
    return None if recorded is None else _describe(path, recorded)


def load_backbone_weights(backbone: Backbone, spec: BackboneSpec) -> list[str]:
    """Load what `spec.weights` says into the backbone; returns what the user should know, a line each.

    Of a run only the backbone is loaded, whatever its method; the rest is the methods' affair.

    Raises:
        BadRequest: the weights do not exist, are no weights, or belong to another architecture.
        FgvcError: they could not be fetched.
    """
    if spec.weights == "none":
        return []
    if spec.weights == "imagenet":
        return _load_imagenet(backbone)
    run = find_run(spec.weights)
    if run is None:
        path = Path(spec.weights).expanduser()
        return _fit(backbone, _strip_prefixes(_read_file(path)), f"weights {path}")
    tensors = {key: value for key, value in run.tensors().items() if key.startswith("backbone.")}
    source = f"weights {run.file} (of backbone {run.backbone})"
    return _fit(backbone, _strip_prefixes(tensors), source, same=run.backbone == backbone.name)


# ---------------------------------------------------------------- reading files


def _describe(path: Path, recorded: str) -> RunWeights:
    try:
        spec = json.loads(recorded)["spec"]
        return RunWeights(path, spec["method"]["name"], spec["backbone"]["name"])
    except (ValueError, KeyError, TypeError):
        return RunWeights(path, None, None)


def _read_metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BadRequest(f"weights: {path} is not a safetensors file ({_line(error)})") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadRequest(f"weights: {path} is not a safetensors file ({_line(error)})") from error


def _read_file(path: Path) -> dict[str, Tensor]:
    """Tensors by name, of a .safetensors file or of one that torch.save wrote."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own
        raise BadRequest(
            f"weights: {path} is not a weights file, or holds more than tensors, which is never loaded"
        ) from error
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)} if _is_named(content) else {}
    if not tensors:
        raise BadRequest(f"weights: {path} holds no tensors by name (nor under {', '.join(_NESTED)})")
    return tensors


def _is_named(content: object) -> bool:
    return isinstance(content, Mapping) and all(isinstance(key, str) for key in content)


def _strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the names that wrappers put in front: `module.backbone.trunk.conv1.weight` → `conv1.weight`."""

    def strip(key: str) -> str:
        for prefix in _PREFIXES:
            key = key.removeprefix(prefix)
        return key

    return {strip(key): value for key, value in tensors.items()}


# ---------------------------------------------------------------- fitting tensors to the trunk


def _fit(backbone: Backbone, tensors: Mapping[str, Tensor], source: str, *, same: bool = False) -> list[str]:
    """Copy tensors into the trunk by name; tell what was left out; refuse another architecture's file.

    `same`: they are known to be of this architecture, so those of another shape come from layers a method widened.
    """
    own = {backbone.canonical(key): value for key, value in backbone.trunk.state_dict().items()}
    given = {backbone.canonical(key): value for key, value in tensors.items()}
    names = backbone.trunk.state_dict()
    counters = {backbone.canonical(key) for key in names if key.endswith("num_batches_tracked")}  # old files lack them
    matched = [key for key in own if key in given and own[key].shape == given[key].shape]
    reshaped = [key for key in own if key in given and own[key].shape != given[key].shape]
    missing = [key for key in own if key not in given and key not in counters]
    head = [key for key in given if key not in own and key.startswith(_HEADS)]
    foreign = [key for key in given if key not in own and key not in head]
    modules = {key.split(".")[0] for key in own}
    inside = [key for key in foreign if key.split(".")[0] in modules]  # resnet34's further blocks in a resnet18, say

    complaints = [
        *([f"missing: {_some(missing)}"] if missing else []),
        *([f"of another shape: {_some(reshaped)}"] if reshaped else []),
        *([f"unknown: {_some(foreign)}"] if foreign else []),
    ]
    unfit = len(missing) + (0 if same else len(reshaped))
    if unfit > (1 - _FIT) * len(own) or len(inside) > (1 - _FIT) * len(own):
        raise BadRequest(
            f"{source} does not fit backbone {backbone.name}: {len(matched)} of its {len(own)} tensors match; "
            + "; ".join(complaints)
        )
    with torch.no_grad():
        for key in matched:
            own[key].copy_(given[key])
    left = [f"{source}: classifier head left out ({_some(head)})"] if head else []
    return left + ([f"{source}: {'; '.join(complaints)}"] if complaints else [])


def _some(keys: Iterable[str], show: int = 3) -> str:
    """The first few keys, and how many more there are."""
    listed = list(keys)
    more = f" and {len(listed) - show} more" if len(listed) > show else ""
    return ", ".join(listed[:show]) + more


# ---------------------------------------------------------------- ImageNet


def imagenet_address(name: str) -> str:
    """Where torchvision keeps the ImageNet weights of the papers' time (IMAGENET1K_V1) of one of its networks."""
    from torchvision.models import get_model_weights

    address: str = get_model_weights(name)["IMAGENET1K_V1"].url
    return address


def _load_imagenet(backbone: Backbone) -> list[str]:
    if backbone.name == "tiny":
        raise BadRequest("tiny has no ImageNet weights: use --weights none")
    if isinstance(backbone, TimmBackbone):
        return backbone.load_pretrained()
    address = imagenet_address(backbone.name)
    file = Path(torch.hub.get_dir(), "checkpoints", address.rsplit("/", 1)[-1])
    try:
        with _patience(_TIMEOUT):
            tensors = torch.hub.load_state_dict_from_url(
                address, map_location="cpu", check_hash=True, weights_only=True, progress=sys.stderr.isatty()
            )
    except Exception as error:  # URLError, a time-out, a wrong hash; or a broken file in the cache
        raise FgvcError(_fetch_failed(address, file, error)) from error
    _fit(backbone, tensors, f"weights {file}")  # of its own head nobody needs to hear
    return []


def _fetch_failed(address: str, file: Path, error: Exception) -> str:
    if file.exists():
        return f"{file} cannot be read as weights ({_line(error)}): delete it and try again"
    return (
        f"could not fetch {address} ({_line(error)}): put that file at {file} by hand, "
        "or use --weights FILE or --weights none"
    )


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Sockets opened inside give up after this long without an answer; torch.hub itself would wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _line(error: Exception) -> str:
    """An error's first line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
