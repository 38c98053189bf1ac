"""The fine-tuned backbone that every method is compared with: FT-VGG and FT-ResNet of the papers' tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from fgvc_cli.backbones import EMBEDDING, Backbone
from fgvc_cli.methods.base import BehindEmbedding, Fit, Labelled, Output
from fgvc_cli.methods.parts import cross_entropy, global_pool, linear_evidence
from fgvc_cli.methods.probe.linear import fit_linear
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.methods.probe import ProbeSpec


class Baseline(BehindEmbedding):
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
        top, pooled = self._pooled(images)
        output = self.classify(pooled)
        if not evidence:
            return output
        weight, whole = self.classifier.weight, self.reads_embedding(self.spec)
        seen = linear_evidence(self.backbone, images, top, pooled, output.logits, weight, whole=whole)
        return replace(output, evidence=seen)

    def embed(self, images: Tensor) -> Tensor:
        """As `Method.embed`: what the classifier reads."""
        return self._pooled(images)[1]

    def classify(self, embeddings: Tensor) -> Output:
        """As `BehindEmbedding.classify`."""
        logits = self.classifier(embeddings)
        return Output(logits, {"final": logits}, {})

    def fit(self, train: Labelled, val: Labelled | None, tell: Callable[[str], object]) -> Fit:
        """As `BehindEmbedding.fit`: the classifier becomes the logistic regression of the embeddings."""
        return fit_linear(self.classifier, train, val, ProbeSpec(), tell)

    def _pooled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The top map (B, C, h, w), and what the classifier reads of it (B, D)."""
        top = self.backbone.last
        if self.reads_embedding(self.spec):
            found = self.backbone(images, [top, EMBEDDING])
            return found[top], found[EMBEDDING]
        maps = self.backbone(images, [top])[top]
        return maps, global_pool(maps)

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """`final`: cross entropy."""
        return {"final": cross_entropy(output.logits, labels)}
