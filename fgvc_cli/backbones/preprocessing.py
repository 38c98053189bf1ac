"""What starting weights were trained with: mean, standard deviation, interpolation, size and crop of the images."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import ValidationError

from fgvc_cli.backbones.choice import with_backbone
from fgvc_cli.backbones.hub import config_of
from fgvc_cli.backbones.weights import find_run, weights_file
from fgvc_cli.spec.backbone import TIMM_PREFIX, TORCHVISION_NAMES
from fgvc_cli.spec.build import validate
from fgvc_cli.spec.data import IMAGENET_MEAN, IMAGENET_STD, OF_WEIGHTS, DataSpec, Interpolation, Triple
from fgvc_cli.spec.run import RunSpec

_KNOWN: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic")


class Preprocessing(NamedTuple):
    """How images are made into a network's input. `crop`: side of the resized square for a crop of one pixel."""

    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    interpolation: Interpolation = "bilinear"
    size: int = 224
    crop: float = 1.0

    def fields(self, size: int) -> dict[str, Any]:
        """The values of `OF_WEIGHTS` for a network's input of `size` pixels.

        A crop of more than the resized image, which a few networks of timm ask for, becomes the whole image.
        """
        values = (self.mean, self.std, self.interpolation, size, max(size, round(size * self.crop)))
        return dict(zip(OF_WEIGHTS, values, strict=True))


def trained_with(spec: RunSpec) -> Preprocessing:
    """The preprocessing of the starting weights.

    Of a run of fgvc it is the run's own; of weights with a config.json what that says; of any others, and where that
    says nothing usable, that of the library's weights for this network, as files do not say; for a random start the
    usual one (ImageNet's mean and standard deviation, bilinear).

    Raises:
        BadRequest: the weights do not exist, or timm is not installed.
    """
    name, weights = spec.backbone.name, spec.backbone.weights
    run = find_run(weights)
    if run is not None and run.preprocessing is not None:
        recorded = run.preprocessing
        size = recorded.side
        return Preprocessing(*recorded.normalisation, _known(recorded.interpolation), size, recorded.resize_side / size)
    if weights == "none":
        return Preprocessing()
    file = weights_file(weights)
    return _of_config(None if file is None else config_of(file), _of_library(name))


def resolved(spec: RunSpec) -> RunSpec:
    """The spec with every `auto` replaced: the backbone, then the data by what its weights were trained with.

    Raises:
        BadRequest: as `trained_with` and `with_backbone`; or the values do not go with those given by hand.
    """
    spec, _ = with_backbone(spec)
    open_fields = spec.data.unresolved
    if not open_fields:
        return spec
    found = trained_with(spec)
    values = found.fields(found.size if "image_size" in open_fields else spec.data.side)
    tree = spec.model_dump()
    tree["data"] |= {name: values[name] for name in open_fields}
    return validate(tree)


def contradiction(spec: RunSpec) -> str | None:
    """A line for the user if a resolved spec's pixels differ from those that the starting weights were trained with."""
    if spec.backbone.weights == "none":
        return None
    found = trained_with(spec)
    wrong = [
        f"data.{name} is {_short(ours)}, not {_short(theirs)}"
        for name, ours, theirs in (
            ("mean", spec.data.mean, found.mean),
            ("std", spec.data.std, found.std),
            ("interpolation", spec.data.interpolation, found.interpolation),
        )
        if ours != theirs
    ]
    return f"unlike what the starting weights were trained with, {', '.join(wrong)}" if wrong else None


def _short(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(f"{number:g}" for number in value)


def _known(name: str) -> Interpolation:
    """The interpolation of that name; some weights were trained with several, then bilinear."""
    return next((known for known in _KNOWN if known == name), "bilinear")


def _of_config(config: dict[str, Any] | None, library: Preprocessing) -> Preprocessing:
    """What a config.json says in timm's words, and the library for what it leaves out.

    The library alone if the file is of no use: a value is of another kind, or no images can be made by it.
    """
    if not config:
        return library
    size, crop = config.get("input_size"), config.get("crop_pct")
    try:
        found = Preprocessing(
            tuple(config.get("mean", library.mean)),
            tuple(config.get("std", library.std)),
            _known(str(config.get("interpolation", library.interpolation))),
            library.size if size is None else int(size[-1]),
            library.crop if crop is None else 1 / float(crop),
        )
        data = DataSpec.model_validate(found.fields(found.size))
    except (ValidationError, TypeError, ValueError, LookupError, ArithmeticError):
        return library
    return library if found.crop <= 0 else found._replace(mean=data.normalisation[0], std=data.normalisation[1])


def _of_library(name: str) -> Preprocessing:
    """What timm or torchvision records of its own weights for a network."""
    if name.startswith(TIMM_PREFIX):
        return _of_timm(name.removeprefix(TIMM_PREFIX))
    return _of_torchvision(name) if name in TORCHVISION_NAMES else Preprocessing()


def _of_timm(model: str) -> Preprocessing:
    from fgvc_cli.backbones.timm.library import pretrained_config

    config = pretrained_config(model)
    mean, std = tuple(config.mean), tuple(config.std)
    size = int(config.input_size[-1])
    return Preprocessing(mean, std, _known(config.interpolation), size, 1 / config.crop_pct)


def _of_torchvision(name: str) -> Preprocessing:
    from torchvision.models import get_model_weights

    transforms: Any = get_model_weights(name)["IMAGENET1K_V1"].transforms()
    size, side = int(transforms.crop_size[0]), int(transforms.resize_size[0])
    interpolation = _known(transforms.interpolation.value)
    return Preprocessing(tuple(transforms.mean), tuple(transforms.std), interpolation, size, side / size)
