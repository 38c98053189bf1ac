"""The fine-tuned backbone that every method is compared with: FT-VGG and FT-ResNet of the papers' tables."""

from __future__ import annotations

from torch import Tensor, nn

from fgvc_cli.backbones import Backbone
from fgvc_cli.methods.base import Evidence, Head, Method, Output
from fgvc_cli.methods.parts import cross_entropy, global_pool, image_frame, predicted_cam
from fgvc_cli.spec.methods.base import MethodSpec


class Baseline(Method):
    """Backbone, global average pooling, one linear layer, cross entropy. Branch: `final`."""

    def __init__(self, spec: MethodSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__(spec, backbone, num_classes, image_size)
        self.classifier = nn.Linear(backbone.channels[backbone.last], num_classes)

    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, S, S) → logits (B, K)."""
        features = self.backbone(images, [self.backbone.last])[self.backbone.last]
        pooled = global_pool(features)
        logits = self.classifier(pooled)
        seen = self._evidence(images, features, pooled, logits) if evidence else None
        return Output(logits, {"final": logits}, {}, seen)

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """`final`: cross entropy."""
        return {"final": cross_entropy(output.logits, labels)}

    def _evidence(self, images: Tensor, features: Tensor, pooled: Tensor, logits: Tensor) -> Evidence:
        frame = image_frame(images)
        weight = self.classifier.weight
        return Evidence(
            maps={"final": predicted_cam(features, weight, logits, frame)},
            heads={"final": Head(features, weight, frame)},
            embedding=pooled.detach(),
        )
