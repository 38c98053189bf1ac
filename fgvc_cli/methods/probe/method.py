"""Probe: a classifier that is fitted at once to the embeddings of a frozen network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fgvc_cli.backbones import EMBEDDING, Backbone
from fgvc_cli.methods.base import BehindEmbedding, Enrolling, Fit, Labelled, Output, precise
from fgvc_cli.methods.parts import cross_entropy, linear_evidence
from fgvc_cli.methods.probe.heads import HEADS, EnrollingHead
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.probe import ProbeSpec

_LEAST = 1e-6  # of the mean deviation: an entry that varies less is not scaled up


class Probe(BehindEmbedding):
    """Frozen backbone, its embedding scaled, a head. Branch: `final`."""

    spec: ProbeSpec
    avoids: ClassVar = {
        "head=linear": ("topk", "scatter_add", "masked_fill"),
        "scaling=none": ("sign",),
    }
    shift: Tensor  # (D,) subtracted from the embedding
    scale: Tensor  # (D,) divides what is left

    def __init__(self, spec: ProbeSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__(spec, backbone, num_classes, image_size)
        width = backbone.embedding_width
        if width is None:
            raise ValueError(f"backbone {backbone.name} was built without its embedding")
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.head = HEADS[spec.head](spec, width, num_classes)

    @classmethod
    def reads_embedding(cls, spec: MethodSpec) -> bool:
        """As `Method.reads_embedding`."""
        return True

    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, S, S) → logits (B, K)."""
        top = self.backbone.last
        found = self.backbone(images, [top, EMBEDDING])
        output = self.classify(found[EMBEDDING])
        if not evidence:
            return output
        about = (self.backbone, images, found[top], found[EMBEDDING], output.logits, self._weight())
        return replace(output, evidence=linear_evidence(*about, whole=True))

    def embed(self, images: Tensor) -> Tensor:
        """As `Method.embed`: the network's own embedding, not scaled."""
        return precise(self.backbone(images, [EMBEDDING])[EMBEDDING])

    def classify(self, embeddings: Tensor) -> Output:
        """As `BehindEmbedding.classify`."""
        logits = self.head(self.scaled(precise(embeddings)))
        return Output(logits, {"final": logits}, {})

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """`final`: cross entropy."""
        return {"final": cross_entropy(output.logits, labels)}

    def fit(self, train: Labelled, val: Labelled | None, tell: Callable[[str], object]) -> Fit:
        """As `BehindEmbedding.fit`."""
        if self.spec.scaling == "standard":
            deviation = train.embeddings.std(0, correction=0)
            self.shift = train.embeddings.mean(0)
            self.scale = torch.where(deviation > _LEAST * deviation.mean(), deviation, 1.0)
        scaled = [part._replace(embeddings=self.scaled(part.embeddings)) for part in (train, val) if part is not None]
        return self.head.fit(scaled[0], None if val is None else scaled[1], tell)

    @property
    def enrolling(self) -> Enrolling | None:
        """As `Method.enrolling`: with a head that can."""
        return _Enrolling(self, self.head) if isinstance(self.head, EnrollingHead) else None

    def scaled(self, embeddings: Tensor) -> Tensor:
        """(B, D) of `embed` → (B, D): what the head reads."""
        if self.spec.scaling == "sqrt":  # Perronnin et al., Improving the Fisher Kernel, ECCV 2010
            return embeddings.sign() * embeddings.abs().sqrt()
        if self.spec.scaling == "l2":
            return F.normalize(embeddings, dim=1)
        return (embeddings - self.shift) / self.scale if self.spec.scaling == "standard" else embeddings

    def _weight(self) -> Tensor | None:
        """The head's weight (K, D) on the embedding as it is; None if it is not linear in that."""
        linear = self.head.linear()
        if linear is None or self.spec.scaling in ("l2", "sqrt"):
            return None
        return linear[0] / self.scale


@dataclass(frozen=True)
class _Enrolling(Enrolling):
    """A probe whose head learns classes without training."""

    probe: Probe
    head: EnrollingHead

    @torch.no_grad()
    def enroll(self, embeddings: Tensor, label: int) -> None:
        """As `Enrolling.enroll`."""
        self.head.enroll(self.probe.scaled(precise(embeddings)), label)
        self.probe.num_classes = self.head.classes

    @torch.no_grad()
    def remove(self, label: int) -> None:
        """As `Enrolling.remove`."""
        self.head.remove(label)
        self.probe.num_classes = self.head.classes
