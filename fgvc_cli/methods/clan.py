"""CLAN: the top map gives context to middle maps, and these give spatial attention to the top map.

Huang et al., Cross-layer Attention Network for Fine-grained Visual Categorization. Letters: B images, K classes,
C_s channels of middle map s, C_g of the top map, C_int of the embeddings, h×w size of a map, n = h·w positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods.base import Evidence, Head, Maps, Method, Output
from fgvc_cli.methods.parts import cross_entropy, global_pool, image_frame, predicted_cam, size_of
from fgvc_cli.ops.relations import dot_product_relation, softmax_relation
from fgvc_cli.spec.methods.clan import ClanSpec

_EPS = 1e-5
MIDDLE = ("part", "attr")  # Table 4's P and A, from the top down


def middle_maps(backbone: Backbone, scales: int) -> dict[str, str]:
    """Branch → name of the middle map it reads, from the top down (section 4.1).

    For VGG the second to last convolution of block 5 (VGG-16's conv5_2), then the last of block 4; for other networks
    the maps just below the top: conv4, then conv3.

    Raises:
        BadRequest: the backbone has too few maps.
    """
    names = list(backbone.names[:-1])
    if backbone.last == "pool5":
        blocks = [[name for name in names if name.startswith(f"conv{block}_")] for block in (4, 5)]
        names = [blocks[0][-1], blocks[1][-2]]
    count = len(names) + 1
    if count < scales:
        raise BadRequest(f"method.scales: {scales} maps are needed, but backbone {backbone.name} has {count}")
    return dict(zip(MIDDLE[: scales - 1], reversed(names), strict=False))


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Resize (B, C, ...) bilinearly to the height and width of `like`; a map of that size is returned unchanged."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


class ContextAttention(nn.Module):
    """CLCA (Eq. 1-7), or without `top` channels a non-local block on the middle map only.

    Args:
        channels: C_s of the middle map.
        top: C_g of the top map; None: relations are computed from the middle map only.
        spec: its relation, normalise, reduction and zero_init (of W_y) are used.
    """

    def __init__(self, channels: int, top: int | None, spec: ClanSpec) -> None:
        super().__init__()
        inner = max(1, channels // spec.reduction)
        self.relation = spec.relation
        self.normalise = spec.normalise
        self.local = nn.Identity() if top is None else nn.Conv2d(channels, channels, 1)  # W_l
        self.context = None if top is None else nn.Conv2d(top, channels, 1)  # W_g
        embedded = spec.relation != "gaussian"
        self.theta = nn.Conv2d(channels, inner, 1) if embedded else nn.Identity()
        self.phi = nn.Conv2d(channels, inner, 1) if embedded else nn.Identity()
        self.k = nn.Conv2d(channels, inner, 1)
        self.y = nn.Conv2d(inner, channels, 1)
        if spec.zero_init:
            nn.init.zeros_(self.y.weight)
            nn.init.zeros_(cast(Tensor, self.y.bias))

    def fuse(self, middle: Tensor, top: Tensor) -> Tensor:
        """Eq. 1: (B, C_s, h, w) and (B, C_g, h', w') → (B, C_s, h, w).

        W_g is applied before upsampling: this is exact, including the bias, because bilinear weights sum to one, and
        it is cheaper because the top map has fewer positions.
        """
        if self.context is None:
            return middle
        fused: Tensor = self.local(middle) + resized(self.context(top), middle)
        return fused

    def forward(self, middle: Tensor, top: Tensor) -> Tensor:
        """(B, C_s, h, w) and (B, C_g, h', w') → the refined middle map (B, C_s, h, w)."""
        fused = self.fuse(middle, top)
        relate = dot_product_relation if self.relation == "dot_product" else softmax_relation
        query, key, value = self.theta(fused).flatten(2), self.phi(fused).flatten(2), self.k(middle).flatten(2)
        if self.normalise:
            query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
        y = relate(query, key, value)  # Eq. 2
        refined: Tensor = self.y(y.reshape(middle.shape[0], -1, *middle.shape[2:])) + middle  # Eq. 3
        return refined


class Unrefined(nn.Module):
    """Table 2's "GAP": the middle map, unchanged."""

    def forward(self, middle: Tensor, top: Tensor) -> Tensor:
        """Return the middle map."""
        return middle


class SpatialAttention(nn.Module):
    """CLSA's attention map (Eq. 8): pooling over channels, a 3×3 convolution, a sigmoid."""

    def __init__(self, spec: ClanSpec) -> None:
        super().__init__()
        self.pool = spec.spatial_pool
        self.sigmoid = spec.attention == "sigmoid"
        self.normalise = spec.normalise
        self.conv = nn.Conv2d(2 if self.pool == "both" else 1, 1, 3, padding=1)

    def forward(self, middle: Tensor) -> Tensor:
        """(B, C_s, h, w) → M (B, 1, h, w)."""
        pooled: list[Tensor] = []
        if self.pool != "max":
            pooled.append(middle.mean(1, keepdim=True))
        if self.pool != "avg":
            pooled.append(middle.max(1, keepdim=True).values)
        read = torch.cat(pooled, 1)
        if self.normalise:  # else a large map saturates the sigmoid
            mean, std = read.mean((2, 3), keepdim=True), read.std((2, 3), correction=0, keepdim=True)
            read = (read - mean) / (std + _EPS)
        attention: Tensor = self.conv(read)
        return attention.sigmoid() if self.sigmoid else attention


class Clan(Method):
    """A linear classifier on each refined middle map, on the top map, and on the top map weighted by attention maps.

    Branches: `global`, `part`, with 3 scales `attr`, and `clsa` (G, P, A and CLSA of Table 4); the means `g_p` (of the
    first two), `g_p_a` (of the first three) and `final` (of all). A mean equal to `final` is not listed separately.
    """

    spec: ClanSpec
    avoids: ClassVar = {
        "relation=dot_product": ("scaled_dot_product_attention",),
        "context=none": ("scaled_dot_product_attention", "matmul", "linalg_vector_norm", "upsample_bilinear2d"),
        "clsa=false": ("var", "std"),
        "spatial_pool=avg": ("max",),
    }

    def __init__(self, spec: ClanSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__(spec, backbone, num_classes, image_size)
        self.taps = middle_maps(backbone, spec.scales)
        top = backbone.channels[backbone.last]
        widths = {branch: backbone.channels[tap] for branch, tap in self.taps.items()}
        self.context = nn.ModuleDict({branch: _context(width, top, spec) for branch, width in widths.items()})
        self.attention = nn.ModuleDict({branch: SpatialAttention(spec) for branch in self.taps if spec.clsa})
        widths = {"global": top, **widths, **({"clsa": top * len(self.taps)} if spec.clsa else {})}
        self.classifiers = nn.ModuleDict({_head(name): nn.Linear(width, num_classes) for name, width in widths.items()})

    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, H, W) → the mean of all classifiers' logits, and the logits of each branch, (B, K) each."""
        found = self.backbone(images, [*self.taps.values(), self.backbone.last])
        top = found[self.backbone.last]
        middle = {branch: self.context[branch](found[tap], top) for branch, tap in self.taps.items()}
        attention = {branch: attend(middle[branch]) for branch, attend in self.attention.items()}
        maps = {"global": top, **middle}
        if attention:
            maps["clsa"] = self.attended(top, attention)
        pooled = {branch: global_pool(value) for branch, value in maps.items()}
        heads = {branch: self._classifier(branch)(pooled[branch]) for branch in maps}
        branches = {**heads, **self._means(heads)}
        seen = self._evidence(images, maps, attention, heads, pooled) if evidence else None
        return Output(branches["final"], branches, {}, seen)

    def final_layers(self) -> list[dict[str, nn.Linear]]:
        """As `Method.final_layers`."""
        return [
            {
                branch: self._classifier(branch)
                for branch in ("global", *self.taps, *(["clsa"] if self.attention else []))
            }
        ]

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Eq. 12-14: the weighted cross entropy of each classifier."""
        spec = self.spec
        weights = {"global": spec.lambda_global, "clsa": spec.lambda_clsa}
        return {
            branch: weights.get(branch, spec.lambda_middle) * cross_entropy(output.branches[branch], labels)
            for branch in ("global", *self.taps, "clsa")
            if branch in output.branches
        }

    def attended(self, top: Tensor, attention: Mapping[str, Tensor]) -> Tensor:
        """Eq. 9, 11: the top map (B, C_g, h, w) times each attention map, concatenated in the order of depth.

        Returns:
            (B, (N-1)·C_g, h, w).
        """
        return torch.cat([self._downsample(attention[branch], top) * top for branch in reversed(self.taps)], 1)

    def _downsample(self, attention: Tensor, top: Tensor) -> Tensor:
        """R of Eq. 9: (B, 1, h, w) of a middle map → the height and width of the top map."""
        if self.spec.downsample == "bilinear" or attention.shape[2:] == top.shape[2:]:
            return resized(attention, top)
        return F.adaptive_avg_pool2d(attention, size_of(top))

    def _means(self, heads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sums of Table 4, as means of logits in fp32; the last is the prediction."""
        logits = torch.stack([value.float() for value in heads.values()])  # G, P, A, CLSA
        sums = {name: count for count, name in enumerate(("g_p", "g_p_a")[: len(self.taps)], 2) if count < len(logits)}
        means = {name: logits[:count].mean(0) for name, count in sums.items()}
        return {**means, "final": logits.mean(0)}

    def _classifier(self, branch: str) -> nn.Linear:
        return cast(nn.Linear, self.classifiers[_head(branch)])

    def _evidence(
        self,
        images: Tensor,
        maps: Mapping[str, Tensor],
        attention: Mapping[str, Tensor],
        logits: Mapping[str, Tensor],
        pooled: Mapping[str, Tensor],
    ) -> Evidence:
        frame = image_frame(images)
        weights = {branch: self._classifier(branch).weight for branch in maps}
        seen = {branch: predicted_cam(value, weights[branch], logits[branch], frame) for branch, value in maps.items()}
        for branch, value in attention.items():
            seen[f"attention_{branch}"] = Maps("attention", value.detach().float(), frame)
        heads = {branch: Head(value, weights[branch], frame) for branch, value in maps.items()}
        embedding = torch.cat(list(pooled.values()), 1).detach()
        return Evidence(maps=seen, heads=heads, embedding=embedding)


def _head(branch: str) -> str:
    """Name of a branch's classifier: plain `global` is a Python keyword, which breaks the code of exported programs."""
    return f"{branch}_head"


def _context(channels: int, top: int, spec: ClanSpec) -> nn.Module:
    """The module that refines a middle map (Table 2)."""
    if spec.context == "none":
        return Unrefined()
    return ContextAttention(channels, top if spec.context == "clca" else None, spec)
