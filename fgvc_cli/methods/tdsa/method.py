"""TDSA-Loss and mutual-channel loss: losses on class-aligned channels of an ordinary backbone.

Chang et al., Fine-Grained Visual Classification via Simultaneously Learning of Multi-regional Multi-grained Features.
Letters: B images, K classes, C channels, n channels of a class, h×w map, S image side; ^h high, ^l middle level.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone
from fgvc_cli.methods.base import Evidence, Head, Maps, Method, Output
from fgvc_cli.methods.parts import cross_entropy, image_frame
from fgvc_cli.methods.tdsa.levels import PooledClassifier, adapter, build_levels
from fgvc_cli.ops.channels import (
    channel_classes,
    channel_groups,
    channel_rows,
    class_diversity,
    class_maximum,
    class_scores,
    draw_channel_mask,
    top_down_attention,
)
from fgvc_cli.spec.methods.tdsa import McSpec, TdsaSpec


class Mc(Method):
    """Backbone with n high-level channels per class, a classifier, and the mutual-channel loss on those channels.

    Branch: `final`. In evaluation mode without evidence only the backbone (with these widths) and the classifier run.
    """

    spec: McSpec | TdsaSpec

    def __init__(self, spec: McSpec | TdsaSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__(spec, backbone, num_classes, image_size)
        levels = build_levels(backbone, spec, num_classes, self.xi)
        self.levels = levels
        if levels.fresh:
            self.notes.append(
                f"randomly initialised, since their widths depend on the number of classes: {', '.join(levels.fresh)}"
            )
        own = backbone.channels[levels.high]
        self.high_adapter = None if levels.high_width == own else adapter(own, levels.high_width)
        self.groups = {"high": channel_groups(levels.high_width, num_classes)}
        self.classifier = PooledClassifier(levels.high_width, levels.pool, spec.hidden, num_classes)

    @property
    def xi(self) -> int:
        """ξ: middle-level channels per high-level channel, if the backbone has such a layer to widen."""
        return 1

    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, H, W) → logits (B, K); in training mode also the maps of the levels, for the loss."""
        learning = self.training and self.spec.mu > 0
        wanted = learning or evidence
        maps = self.backbone(images, self._taps() if wanted else [self.levels.high])
        high = maps[self.levels.high]
        if self.high_adapter is not None:
            high = self.high_adapter(high)
        logits, embedding = self.classifier(high)
        features = self._features(maps, high) if wanted else {}
        seen = self._evidence(images, features, logits, embedding) if evidence else None
        return Output(logits, {"final": logits}, features if learning else {}, seen)

    def final_layers(self) -> list[dict[str, nn.Linear]]:
        """As `Method.final_layers`."""
        return [{"final": self.classifier.output}]

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """`final`, the cross entropy; for each level μ·L_dis and -μλ·L_div (Eq. 1, 8, 9).

        The level losses exist in training mode only: in evaluation mode the loss is the cross entropy.
        """
        losses = {"final": cross_entropy(output.logits, labels)}
        for name, maps in output.features.items():
            groups, rows = self.groups[name], channel_rows(maps)
            scores = class_scores(rows, groups, draw_channel_mask(groups, rows.device))
            losses[f"{name}_dis"] = self.spec.mu * cross_entropy(scores, labels)  # Eq. 4
            if self.spec.lambda_div > 0:
                overlap = class_diversity(rows, groups, per_channel=self.spec.diversity_per_channel)
                losses[f"{name}_div"] = -self.spec.mu * self.spec.lambda_div * overlap.float().mean()  # Eq. 6
        return losses

    def _taps(self) -> list[str]:
        return [self.levels.high]

    def _features(self, maps: dict[str, Tensor], high: Tensor) -> dict[str, Tensor]:
        """Inputs of the loss per level: `high` is F^h (B, C_h, h, w)."""
        return {"high": high}

    @torch.no_grad()
    def _evidence(self, images: Tensor, features: dict[str, Tensor], logits: Tensor, embedding: Tensor) -> Evidence:
        frame = image_frame(images)
        seen = {"final": self._predicted(features["high"], logits, frame)}
        for name, values in features.items():  # Figure 6 shows the channels of a class unprocessed
            classes = channel_classes(self.groups[name], values.device)
            seen[name] = Maps("channels", values.detach(), frame, classes)
        return Evidence(maps=seen, heads={"final": Head(features["high"], None, frame)}, embedding=embedding.detach())

    def _predicted(self, high: Tensor, logits: Tensor, frame: Tensor) -> Maps:
        """The largest of the predicted class's high-level channels at each position, divided by its maximum."""
        index = logits.argmax(1)
        every = class_maximum(channel_rows(high.detach()), self.groups["high"])  # (B, K, P)
        one = every.gather(1, index[:, None, None].expand(-1, 1, every.shape[2])).relu()
        one = one / one.amax(2, keepdim=True).clamp_min(1e-6)
        return Maps("attention", one.view(-1, 1, *high.shape[2:]), frame, index[:, None])


class Tdsa(Mc):
    """The mutual-channel loss on two levels; the high-level channels attend the middle-level ones (Eq. 7, 8).

    Branch: `final`.
    """

    spec: TdsaSpec
    avoids: ClassVar = {
        "projection=learned": ("index_select",),
        "upsample=nearest": ("upsample_bilinear2d", "upsample_bicubic2d"),
    }

    def __init__(self, spec: TdsaSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__(spec, backbone, num_classes, image_size)
        own = backbone.channels[self.levels.middle]
        width = self.levels.middle_width
        # Without the loss an adapter would get no gradient.
        self.middle_adapter = None if width == own or spec.mu == 0 else adapter(own, width)
        self.has_middle = self.middle_adapter is not None or width == own
        if self.has_middle:
            self.groups["middle"] = channel_groups(width, num_classes)

    @property
    def xi(self) -> int:
        """ξ of Table V and VI."""
        return self.spec.xi

    def _taps(self) -> list[str]:
        return [self.levels.middle, self.levels.high] if self.has_middle else [self.levels.high]

    def _features(self, maps: dict[str, Tensor], high: Tensor) -> dict[str, Tensor]:
        """`high` is F^h, `middle` is F^l' (F^l without attention); the trunk does not use F^l'."""
        if not self.has_middle:
            return {"high": high}
        middle = maps[self.levels.middle]
        if self.middle_adapter is not None:
            middle = self.middle_adapter(middle)
        if self.spec.top_down:
            groups = self.groups["middle"], self.groups["high"]
            middle = top_down_attention(middle, high, groups, self.spec.upsample)  # Eq. 7
        return {"high": high, "middle": middle}
