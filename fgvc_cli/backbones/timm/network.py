"""What all of timm's networks have in common as backbones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from torch import Tensor, nn

from fgvc_cli.backbones.network import Backbone, Segment
from fgvc_cli.backbones.timm import library
from fgvc_cli.backbones.timm.library import first_line
from fgvc_cli.backbones.timm.packaged_weights import install_hint, load_packaged
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.spec.backbone import TIMM_PREFIX


def names_of(strides: Sequence[int]) -> list[str]:
    """conv{n} for maps whose strides 2^n all differ, else map1, map2, ... from the image to the top."""
    powers = [stride.bit_length() - 1 for stride in strides]
    distinct = len(set(strides)) == len(strides) and all(1 << n == s for n, s in zip(powers, strides, strict=True))
    return [f"conv{n}" for n in powers] if distinct else [f"map{i}" for i in range(1, len(strides) + 1)]


def rising(segments: Sequence[Segment]) -> list[str]:
    """Names of the last three maps if each stride is twice the one below, else none."""
    top = [segment.stride for segment in segments[-3:]]
    doubles = len(top) == 3 and top == [top[0], 2 * top[0], 4 * top[0]]
    return [segment.name for segment in segments[-3:]] if doubles else []


class TimmBackbone(Backbone):
    """A timm model with the interface of `Backbone`. Widths and strides cannot be changed."""

    reshapes = False
    random = True  # drop path

    def __init__(self, name: str, trunk: nn.Module, segments: Sequence[Segment], pyramid: Sequence[str]) -> None:
        super().__init__(name, trunk, segments, pyramid)
        network: Any = trunk
        self.embedding_width = getattr(network, "head_hidden_size", None) or int(network.num_features)

    def canonical(self, key: str) -> str:
        """One form for timm's whole networks and its feature extractors (`stages_0` for `stages.0`): all `_` → `.`"""
        return key.removeprefix("model.").replace("_", ".")

    def converted(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """By timm's own converter of this family: it knows the files of DINOv2, DINOv3, EVA and others as published.

        It also resamples positions that were trained for another number of patches.
        """
        convert = getattr(sys.modules[type(self.trunk).__module__], "checkpoint_filter_fn", None)
        if convert is None:
            return tensors
        try:
            with redirect_stdout(StringIO()):  # some of them print
                found: dict[str, Tensor] = convert(dict(tensors), self.trunk)
        except Exception:  # a file of another make; what does not fit is told by name
            return tensors
        return found

    def load_pretrained(self) -> list[str]:
        """Load the model's pretrained weights; returns notes for the user, one line each.

        They come from an installed package where one carries them, else timm downloads them.

        Raises:
            BadRequest: timm has no weights for this model.
            FgvcError: they could not be downloaded, or the package's are not this model's.
        """
        model = self.name.removeprefix(TIMM_PREFIX)
        config: Any = getattr(self.trunk, "pretrained_cfg", None) or {}
        notes = load_packaged(self.trunk, model)
        if notes is None:
            self._download(model, config)
        return notes or []

    def _download(self, model: str, config: Any) -> None:
        if not any(config.get(key) for key in ("url", "hf_hub_id", "file")):
            raise BadRequest(f"timm has no pretrained weights for {model}: use --weights FILE or --weights none")
        try:
            own, loaded = self.trunk.state_dict(), library.create(model, pretrained=True).state_dict()
            self.trunk.load_state_dict({key: loaded[key] for key in own})
        except Exception as error:  # each network library has its own error types
            package = install_hint(model)
            raise FgvcError(
                f"timm could not download the weights of {model} ({first_line(error)}): check the connection and try "
                f"again, {f'{package}, ' if package else ''}or use --weights FILE or --weights none"
            ) from error
