"""Starting weights of a backbone: ImageNet, a file, or a run of fgvc. Only tensors are unpickled (`weights_only`)."""

from __future__ import annotations

import socket
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from fgvc_cli.backbones.hub import fetched, weights_in
from fgvc_cli.backbones.network import Backbone
from fgvc_cli.backbones.timm.network import TimmBackbone
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import expanded, hindrance, open_regular
from fgvc_cli.machine.interrupt import held
from fgvc_cli.machine.tensor_files import DamagedError, read_metadata, read_tensors
from fgvc_cli.spec.backbone import HUB_PREFIX, BackboneSpec
from fgvc_cli.spec.data import OF_WEIGHTS, DataSpec
from fgvc_cli.values import parse

RUN_FILE = "model.safetensors"
RUN_METADATA = "fgvc"  # metadata key in safetensors files that fgvc writes
_PREFIXES = ("module.", "backbone.", "trunk.")
_NESTED = ("state_dict", "model", "model_state_dict", "module")  # where tools' checkpoints hold their weights,
_AVERAGED = ("state_dict_ema", "model_ema", "ema")  # and the moving average of these
_HEADS = ("fc.", "classifier.", "head.")
_TIMEOUT = 30.0  # seconds without an answer after which a download fails
_FIT = 0.9  # a file must have at least this fraction of the trunk's tensors, else it is of another architecture


@dataclass(frozen=True)
class RunWeights:
    """The weights of a run of fgvc: a file whose metadata names its method, backbone, classes and preprocessing.

    None: unknown.
    """

    file: Path
    method: str | None
    backbone: str | None
    classes: tuple[str, ...] | None = None
    preprocessing: DataSpec | None = None

    def tensors(self) -> dict[str, Tensor]:
        """State-dict name → tensor of the whole method."""
        return _read_safetensors(self.file)


def find_run(weights: str) -> RunWeights | None:
    """The run that `weights` refers to (a run folder, or a safetensors file with fgvc's metadata), else None.

    Raises:
        BadRequest: there is no such file, or the folder is not a run.
    """
    path = weights_file(weights)
    if path is None or path.suffix != ".safetensors":
        return None
    recorded = _read_metadata(path).get(RUN_METADATA)
    return None if recorded is None else _describe(path, recorded)


def weights_file(weights: str) -> Path | None:
    """The file that `weights` refers to; None for `none` and `imagenet`. A repository of the hub is fetched.

    Raises:
        BadRequest: there is no such file, or nothing usable in that folder or repository.
        FgvcError: the repository could not be fetched.
    """
    if weights in ("none", "imagenet"):
        return None
    if weights.startswith(HUB_PREFIX):
        return fetched(weights)
    path = expanded(weights)
    if path.is_dir():
        found = weights_in(path)
        if found is None:
            raise BadRequest(f"weights: {path} has no {RUN_FILE}: it is not a run folder with a finished epoch")
        return found
    if not path.is_file():
        if path.exists():
            raise BadRequest(f"weights: {path} is not a regular file")
        raise BadRequest(f"weights: there is no file or folder {path}")
    return path


def load_backbone_weights(backbone: Backbone, spec: BackboneSpec) -> list[str]:
    """Load the weights named by `spec.weights` into the backbone; returns notes for the user, one line each.

    From a run only the backbone is loaded, for any method; `fgvc_cli.methods` loads the rest.

    Raises:
        BadRequest: the file does not exist, holds no weights, or is of another architecture.
        FgvcError: the weights could not be downloaded.
    """
    if spec.weights == "none":
        return []
    if spec.weights == "imagenet":
        return _load_imagenet(backbone)
    run = find_run(spec.weights)
    if run is None:
        path = weights_file(spec.weights)
        assert path is not None
        tensors, notes = _read_file(path)
        tensors = _strip_prefixes(tensors)
        converted = _converted(backbone, tensors)
        return notes + _fit(backbone, converted, f"weights {path}") + _dropped(tensors, converted, f"weights {path}")
    tensors = {key: value for key, value in run.tensors().items() if key.startswith("backbone.")}
    source = f"weights {run.file} (of backbone {run.backbone})"
    return _fit(backbone, _strip_prefixes(tensors), source, same=run.backbone == backbone.name)


# ---------------------------------------------------------------- reading files


def _describe(path: Path, recorded: str) -> RunWeights:
    try:
        about = parse(recorded)
        spec, classes = about["spec"], about.get("classes")
        named = isinstance(classes, list) and bool(classes) and all(isinstance(name, str) for name in classes)
        names = tuple(classes) if named else None
        return RunWeights(path, spec["method"]["name"], spec["backbone"]["name"], names, _preprocessing(spec))
    except (ValueError, KeyError, TypeError):
        return RunWeights(path, None, None)


def _preprocessing(spec: Mapping[str, Any]) -> DataSpec | None:
    data = spec.get("data")
    if not isinstance(data, Mapping):
        return None
    found = DataSpec.model_validate({key: data[key] for key in (*OF_WEIGHTS, "padding") if key in data})
    return None if found.unresolved else found


def _read_metadata(path: Path) -> dict[str, str]:
    with _explained(path):
        return read_metadata(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with _explained(path):
        return read_tensors(path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except DamagedError as error:
        raise BadRequest(f"weights: {path} is not a safetensors file ({error})") from None
    except OSError as error:
        raise BadRequest(f"weights: cannot read {path}: {error.strerror or error}") from None


def _read_file(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors by name, from a .safetensors file or from one written by torch.save, and a note if it holds several."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path), []
    try:
        with held(), open_regular(path) as stream, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # either it is read or the error says all
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadRequest(f"weights: cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # pickle, zip and torch each have their own error types
        raise BadRequest(
            f"weights: {path} is not a weights file, or holds objects other than tensors, which are never loaded"
        ) from error
    taken, tensors, left = _taken(content)
    if not tensors:
        raise BadRequest(f"weights: {path} holds no named tensors, also not under {', '.join((*_NESTED, *_AVERAGED))}")
    others = f", not of its {', '.join(left)}" if left else ""
    return tensors, [f"weights {path}: these are of its {taken}{others}"] if taken else []


def _taken(content: object) -> tuple[str, dict[str, Tensor], list[str]]:
    """The key of a checkpoint's weights ("" if it is nothing but weights), these, and the other keys with weights.

    A moving average is preferred, as it is what tools evaluate, if it has every tensor of the weights themselves.
    """
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        return "", {}, []
    found = {key: _taken(content.get(key)) for key in (*_AVERAGED, *_NESTED)}
    held = {key: tensors for key, (_, tensors, _) in found.items() if tensors}
    if not held:
        return "", {key: value for key, value in content.items() if isinstance(value, Tensor)}, []
    plain = [key for key in held if key in _NESTED]
    names = set(_strip_prefixes(held[plain[0]])) if plain else set()
    key = next(key for key in held if names <= set(_strip_prefixes(held[key])))
    inner = found[key][0]
    return f"{key}.{inner}" if inner else key, held[key], [other for other in held if other != key]


def _strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes that wrapper modules add: `module.backbone.trunk.conv1.weight` → `conv1.weight`."""

    def strip(key: str) -> str:
        for prefix in _PREFIXES:
            key = key.removeprefix(prefix)
        return key

    return {strip(key): value for key, value in tensors.items()}


# ---------------------------------------------------------------- fitting tensors to the trunk


def _converted(backbone: Backbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as the library names and shapes them, if they are in another layout that it can convert."""
    own = {backbone.canonical(key): value.shape for key, value in backbone.trunk.state_dict().items()}
    given = {backbone.canonical(key): value.shape for key, value in tensors.items()}
    fits = all(given.get(key) == shape for key, shape in own.items() if not key.endswith("num.batches.tracked"))
    return tensors if fits else backbone.converted(tensors)


def _dropped(tensors: Mapping[str, Tensor], converted: Mapping[str, Tensor], source: str) -> list[str]:
    """A note on tensors that the library's converter left out. All-zero ones change nothing and are not named.

    A tensor was kept if its name or its place in memory, where a renamed one stays, is among the converted ones.
    """
    kept = {value.data_ptr() for value in converted.values()}
    gone = [key for key, value in tensors.items() if key not in converted and value.data_ptr() not in kept]
    gone = [key for key in gone if tensors[key].float().any()]
    return [f"{source}: left out: {_some(gone)}"] if gone else []


def _fit(backbone: Backbone, tensors: Mapping[str, Tensor], source: str, *, same: bool = False) -> list[str]:
    """Copy tensors into the trunk by name; returns notes on those not loaded. BadRequest for another architecture.

    `same`: the tensors are known to be of this architecture, so different shapes come from layers a method widened.
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
    inside = [key for key in foreign if key.split(".")[0] in modules]  # e.g. resnet34's extra blocks for a resnet18

    problems = [
        *([f"missing: {_some(missing)}"] if missing else []),
        *([f"different shape: {_some(reshaped)}"] if reshaped else []),
        *([f"unknown: {_some(foreign)}"] if foreign else []),
    ]
    unfit = len(missing) + (0 if same else len(reshaped))
    if unfit > (1 - _FIT) * len(own) or len(inside) > (1 - _FIT) * len(own):
        raise BadRequest(
            f"{source} does not fit backbone {backbone.name}: {len(matched)} of its {len(own)} tensors match; "
            + "; ".join(problems)
        )
    with torch.no_grad():
        for key in matched:
            own[key].copy_(given[key])
    left = [f"{source}: classifier head not loaded ({_some(head)})"] if head else []
    return left + ([f"{source}: {'; '.join(problems)}"] if problems else [])


def _some(keys: Iterable[str], show: int = 3) -> str:
    """The first few keys, and the number of the others."""
    listed = list(keys)
    more = f" and {len(listed) - show} more" if len(listed) > show else ""
    return ", ".join(listed[:show]) + more


# ---------------------------------------------------------------- ImageNet


def imagenet_address(name: str) -> str:
    """URL of torchvision's ImageNet weights for a network, version IMAGENET1K_V1 as the papers used."""
    from torchvision.models import get_model_weights

    address: str = get_model_weights(name)["IMAGENET1K_V1"].url
    return address


def imagenet_file(name: str) -> Path:
    """Where PyTorch keeps torchvision's ImageNet weights for a network once they are downloaded."""
    return Path(torch.hub.get_dir(), "checkpoints", imagenet_address(name).rsplit("/", 1)[-1])


def _load_imagenet(backbone: Backbone) -> list[str]:
    if backbone.name == "tiny":
        raise BadRequest("tiny has no ImageNet weights: use --weights none")
    if isinstance(backbone, TimmBackbone):
        return backbone.load_pretrained()
    address = imagenet_address(backbone.name)
    file = imagenet_file(backbone.name)
    try:
        with _socket_timeout(_TIMEOUT):
            tensors = torch.hub.load_state_dict_from_url(
                address, map_location="cpu", check_hash=True, weights_only=True, progress=sys.stderr.isatty()
            )
    except Exception as error:  # URLError, a timeout, a wrong hash; or a broken file in the cache
        raise FgvcError(_fetch_failed(address, file, error)) from error
    _fit(backbone, tensors, f"weights {file}")  # its only note, that the ImageNet head is not loaded, is expected
    return []


def _fetch_failed(address: str, file: Path, error: Exception) -> str:
    if hindrance(error) and not isinstance(error, URLError | TimeoutError):
        return f"cannot use {file}: {hindrance(error)}"
    if file.exists():
        return f"{file} cannot be read as weights ({_line(error)}): delete it and try again"
    return (
        f"could not download {address} ({_line(error)}): download it yourself and save it as {file}, "
        "or use --weights FILE or --weights none, or --preset light-folder, whose weights are a Python package"
    )


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set a timeout for sockets opened inside the context; torch.hub sets none and would wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _line(error: Exception) -> str:
    """An error's first line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
