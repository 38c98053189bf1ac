"""The fine-tuned backbone that every method is compared with: FT-VGG and FT-ResNet of the papers' tables."""

from __future__ import annotations

from torch import Tensor, nn

from fgvc_cli.backbones import EMBEDDING, Backbone
from fgvc_cli.methods.base import Evidence, Head, Maps, Method, Output
from fgvc_cli.methods.parts import cross_entropy, global_pool, image_frame, predicted_cam, strength
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec


class Baseline(Method):
    """Backbone, pooling, one linear layer, cross entropy: the network itself with a new classifier. Branch: `final`."""

    spec: BaselineSpec

    def __init__(self, spec: BaselineSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__(spec, backbone, num_classes, image_size)
        width = backbone.embedding_width if self.reads_embedding(spec) else backbone.channels[backbone.last]
        if width is None:
            raise ValueError(f"backbone {backbone.name} was built without its embedding")
        self.classifier = nn.Linear(width, num_classes)

    @classmethod
    def reads_embedding(cls, spec: MethodSpec) -> bool:
        """As `Method.reads_embedding`."""
        return isinstance(spec, BaselineSpec) and spec.pool == "network"

    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, S, S) → logits (B, K)."""
        top = self.backbone.last
        if self.reads_embedding(self.spec):
            found = self.backbone(images, [top, EMBEDDING])
            pooled = found[EMBEDDING]
        else:
            found = self.backbone(images, [top])
            pooled = global_pool(found[top])
        logits = self.classifier(pooled)
        seen = self._evidence(images, found[top], pooled, logits) if evidence else None
        return Output(logits, {"final": logits}, {}, seen)

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """`final`: cross entropy."""
        return {"final": cross_entropy(output.logits, labels)}

    def _evidence(self, images: Tensor, top: Tensor, pooled: Tensor, logits: Tensor) -> Evidence:
        """A CAM, which is exact where the classifier reads the average of the map; else the activation of the map."""
        frame = image_frame(images)
        read = self.backbone.positions(top) if self.reads_embedding(self.spec) else top
        weight = None if read is None else self.classifier.weight
        if read is None or weight is None:
            maps = Maps("activation", strength(top), frame)
        else:
            maps = predicted_cam(read, weight, logits, frame)
        head = Head(top if read is None else read, weight, frame)
        return Evidence(maps={"final": maps}, heads={"final": head}, embedding=pooled.detach())
