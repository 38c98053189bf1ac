"""SCAPNet: a gate over grid cells masks the master network's map and selects the parts that a sub-network reads.

Liu et al., Learning Scale-Consistent Attention Part Network for Fine-grained Image Recognition. Letters: B images, K
classes, S image side, C and D channels, N grid cells per side, u scale of a window, R parts over all scales.
"""

from __future__ import annotations

import copy
import math
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods.base import Boxes, Evidence, Grid, Head, Method, Output
from fgvc_cli.methods.parts import (
    carried,
    cross_entropy,
    global_pool,
    image_frame,
    mean_probability,
    predicted_cam,
    size_of,
)
from fgvc_cli.methods.scapnet.gate import LocationModule, activation_loss, consistency_loss, estimated_scores
from fgvc_cli.methods.scapnet.relation import PartGraph, PartRelation
from fgvc_cli.ops.crops import crop_and_resize
from fgvc_cli.ops.grids import spread_cells, window_boxes, window_means
from fgvc_cli.ops.gumbel import gumbel_noise, keep_gate
from fgvc_cli.spec.methods.scapnet import ScapNetSpec

MIN_PART_SIDE = 32  # pixels: for a smaller input a deep network's last map would be empty
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class Attention(NamedTuple):
    """Scores of the windows of the middle map, and the gate's mask."""

    log_probs: list[Tensor]  # per scale (B, rows - u + 1, columns - u + 1, 2): log s, index 1 is "keep"
    mask: Tensor | None  # (B, rows, columns); None without a gate

    def keep(self, scale: int) -> Tensor:
        """S^u: each window's probability of "keep", (B, rows - u + 1, columns - u + 1)."""
        return self.log_probs[scale - 1][..., 1].exp()


class Parts(NamedTuple):
    """The R parts of each image, sorted by scale (scale 1 first), within a scale by falling score."""

    boxes: Tensor  # (B, R, 4) xyxy in image pixels
    scores: Tensor  # (B, R)
    counts: tuple[int, ...]  # number of parts per scale


class PartPrediction(NamedTuple):
    """Output of the sub-network."""

    logits: Tensor  # (B, R, K): y_i; (B, 1, K) for concatenated parts
    embedding: Tensor  # (B, D)
    relations: dict[str, Tensor]  # (B, R, R) per head


def top_windows(scores: Tensor, count: int) -> Tensor:
    """(B, n) → (B, count): indices of the highest scores per image, highest first; of equal scores the lower index."""
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


class ScapNet(Method):
    """gGAU, SCAPS and PRM on a master network and a sub-network.

    Branches: `master`; with parts also `sub` (ŷ of Eq. 14) and `final`, the mean of their two probabilities.
    """

    spec: ScapNetSpec
    avoids: ClassVar = {
        "parts=off": ("sort", "grid_sampler", "gather", "logsumexp", "sin", "cos"),
        "relation=none": ("sin", "cos", "unbind", "pad"),
        "selection=consistent": ("frac",),
    }

    def __init__(self, spec: ScapNetSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__(spec, backbone, num_classes, image_size)
        self.tap = backbone.pyramid[1]  # the end of stage 3
        h, w = backbone.map_sizes(image_size, image_size)[self.tap]
        self.grid = (min(spec.grid, h), min(spec.grid, w))
        channels = backbone.channels[backbone.last]
        self.location = (
            LocationModule(backbone.channels[self.tap], spec.hidden, spec.gate_bias) if spec.scored else None
        )
        self.classifier = nn.Linear(channels, num_classes)
        self.sub_backbone: Backbone | None = None
        self.sub_runs = bool(spec.parts)
        if spec.parts:
            self.slots = sum(self._counts(self.grid))
            self.sub_backbone = copy.deepcopy(backbone)
            self.relation = _relation(spec, channels)
            inputs = channels * (self.slots if spec.relation == "concatenate" else 1)
            self.sub_classifier = nn.Linear(inputs, num_classes)

    def on_epoch(self, epoch: int, epochs: int) -> bool:
        """Skip and freeze the sub-network in the first stage of `two_stage`; true when this changes the graph."""
        if self.sub_backbone is None:
            return False
        before, self.sub_runs = self.sub_runs, epoch >= self.spec.stage_starts(epochs)[-1]
        for module in (self.sub_backbone, self.relation, self.sub_classifier):
            if module is not None:
                module.requires_grad_(self.sub_runs)
        return before != self.sub_runs

    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, H, W) → logits (B, K), final and of each branch."""
        beside = self.backbone.beside(self.tap)
        maps = self.backbone(images, [self.tap, *beside])
        middle = maps[self.tap]
        attention = self._attend(middle)
        top = self.backbone(
            masked(middle, attention), [self.backbone.last], after=self.tap, beside=carried(maps, beside)
        )[self.backbone.last]
        branches = {"master": self.classifier(global_pool(top))}
        features = {} if attention is None else self._for_losses(attention)
        parts, read = None, None
        if self.sub_backbone is not None and self.sub_runs:
            parts = self._select(attention, size_of(middle), images)
            read = self._read(self.sub_backbone, images, parts)
            features["parts"] = read.logits
            branches["sub"] = read.logits.mean(1)
            branches["final"] = mean_probability([branches["master"], branches["sub"]])
        logits = branches.get("final", branches["master"])
        seen = self._evidence(image_frame(images), top, branches, attention, parts, read) if evidence else None
        return Output(logits, branches, features, seen)

    def final_layers(self) -> list[dict[str, nn.Linear]]:
        """As `Method.final_layers`."""
        return [{"master": self.classifier, **({"sub": self.sub_classifier} if self.sub_runs else {})}]

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Eq. 15: `cls`; `act` if there is a gate, `con` if there are scales to compare, `sub` if there are parts."""
        spec, found = self.spec, output.features
        losses = {"cls": spec.weight_cls * cross_entropy(output.branches["master"], labels)}  # Eq. 3
        if "mask" in found:
            losses["act"] = spec.weight_act * activation_loss(found["mask"].flatten(1)).mean()
        if spec.consistent:
            losses["con"] = spec.weight_con * self._consistency(found).mean()
        if "parts" in found:
            losses["sub"] = spec.weight_sub * self._part_loss(found["parts"], output.branches["sub"], labels)
        return losses

    def _part_loss(self, parts: Tensor, mean: Tensor, labels: Tensor) -> Tensor:
        """L_sub (Eq. 14): CE(ŷ) + Σ CE(y_i); concatenated parts have one prediction only, so CE(ŷ)."""
        count = parts.shape[1]
        together = cross_entropy(mean, labels)
        if self.spec.relation == "concatenate":
            return together
        return together + count * cross_entropy(parts.flatten(0, 1), labels.repeat_interleave(count, 0))

    def _consistency(self, found: dict[str, Tensor]) -> Tensor:
        """(B,) sum of L_con of every larger scale against scale 1; 0 if there is only one scale."""
        cells = found["keep1"]
        larger = [name for name in found if name.startswith("keep") and name != "keep1"]
        total = cells.new_zeros(len(cells))
        for scale, name in enumerate(larger, 2):
            estimated = estimated_scores(cells, scale)
            total = total + consistency_loss(estimated, found[name].flatten(1), self.spec.margin)
        return total

    def _attend(self, middle: Tensor) -> Attention | None:
        """Score the windows of all scales in one call (Eq. 4, Definition 1), then apply the gate (Eq. 5, 6)."""
        if self.location is None:
            return None
        grid = self._grid_of(*size_of(middle))
        scales = min(max(len(self.spec.parts), 1), *grid)
        means = window_means(middle.float(), grid, scales)
        pooled = torch.cat([mean.flatten(2) for mean in means], 2).transpose(1, 2)  # (B, windows of all scales, C)
        scored = torch.split(self.location(pooled), [mean[0, 0].numel() for mean in means], 1)
        log_probs = [s.view(s.shape[0], *mean.shape[2:], 2) for s, mean in zip(scored, means, strict=True)]
        return Attention(log_probs, self._gate(log_probs[0]))

    def _gate(self, log_probs: Tensor) -> Tensor | None:
        """The mask M: (B, rows, columns, 2) → (B, rows, columns)."""
        if self.spec.gate == "off":
            return None
        cells = log_probs.flatten(1, 2)
        mask = keep_gate(
            cells,
            hard=self.spec.gate == "hard",
            noise=gumbel_noise(cells) if self.training and self.spec.gumbel else None,
            temperature=self.spec.temperature,
            never_empty=not self.training,
        )
        return mask.view(log_probs.shape[:3])

    def _for_losses(self, attention: Attention) -> dict[str, Tensor]:
        found = {} if attention.mask is None else {"mask": attention.mask}
        if self.spec.consistent:
            found |= {f"keep{u}": attention.keep(u) for u in range(1, len(attention.log_probs) + 1)}
        return found

    def _grid_of(self, h: int, w: int) -> tuple[int, int]:
        """(rows, columns) of the grid on an h×w map."""
        return min(self.grid[0], h), min(self.grid[1], w)

    def _counts(self, grid: tuple[int, int]) -> tuple[int, ...]:
        """Number of parts per scale, at most the number of windows. BadRequest if no part is left."""
        wanted = list(enumerate(self.spec.parts[: min(grid)], 1))
        counts = tuple(min(count, (grid[0] - u + 1) * (grid[1] - u + 1)) for u, count in wanted)
        if not any(counts):
            raise BadRequest(f"method.parts: no part fits the {grid[0]}x{grid[1]} cells of a map this small")
        return counts

    @torch.no_grad()
    def _select(self, attention: Attention | None, map_size: tuple[int, int], images: Tensor) -> Parts:
        """The highest-scoring windows of each scale, as boxes in image pixels."""
        grid, size = self._grid_of(*map_size), size_of(images)
        counts = self._counts(grid)
        boxes, scores = [], []
        for u, count in enumerate(counts, 1):
            windows = window_boxes(grid, u, map_size, size, images.device)  # (n, 4)
            if attention is None:
                keep = torch.ones(images.shape[0], len(windows), device=images.device)
            else:
                keep = attention.keep(u).flatten(1)
            chosen = top_windows(self._random_scores(keep) if self.spec.selection == "random" else keep, count)
            boxes.append(windows[chosen])
            scores.append(keep.gather(1, chosen))
        return Parts(torch.cat(boxes, 1), torch.cat(scores, 1), counts)

    def _random_scores(self, like: Tensor) -> Tensor:
        """(B, n) random scores; in evaluation, which must be deterministic, a fixed sequence spread evenly."""
        if self.training:
            return torch.rand(like.shape, device=like.device)
        return ((torch.arange(like.shape[1], device=like.device) + 1) * GOLDEN_RATIO).frac().expand_as(like)

    def _read(self, network: Backbone, images: Tensor, parts: Parts) -> PartPrediction:
        """Run all parts of all images through the sub-network as one batch, then relate and classify them."""
        side = (self._part_side(images.shape[2]), self._part_side(images.shape[3]))
        crops = crop_and_resize(images, parts.boxes, side)
        top = network(crops.flatten(0, 1), [network.last])[network.last]
        features = global_pool(top).view(*parts.scores.shape, -1)  # f_F (B, R, D)
        embedding = features.mean(1)
        if self.spec.relation == "concatenate":
            return PartPrediction(self.sub_classifier(self._concatenated(features))[:, None], embedding, {})
        if self.relation is None:
            return PartPrediction(self.sub_classifier(features), embedding, {})
        fused, weights = self.relation(features, parts.boxes)
        relations = {f"head{i}": head for i, head in enumerate(weights.detach().unbind(1), 1)}
        return PartPrediction(self.sub_classifier(fused), fused.mean(1), relations)

    def _concatenated(self, features: Tensor) -> Tensor:
        """(B, R, D) → (B, slots·D), padded with zeros if there are fewer parts than the classifier was built for."""
        return F.pad(features, (0, 0, 0, self.slots - features.shape[1])).flatten(1)

    def _part_side(self, side: int) -> int:
        return max(round(self.spec.part_scale * side), MIN_PART_SIDE)

    def _evidence(
        self,
        frame: Tensor,
        top: Tensor,
        branches: dict[str, Tensor],
        attention: Attention | None,
        parts: Parts | None,
        read: PartPrediction | None,
    ) -> Evidence:
        weight = self.classifier.weight
        described = [global_pool(top)] if read is None else [global_pool(top), read.embedding]
        return Evidence(
            maps={"master": predicted_cam(top, weight, branches["master"], frame)},
            boxes={} if parts is None else _by_scale(parts),
            grids={} if attention is None else _grids(attention, frame),
            relations={} if read is None else read.relations,
            heads={"master": Head(top, weight, frame)},
            embedding=torch.cat(described, 1).detach(),
        )


def masked(middle: Tensor, attention: Attention | None) -> Tensor:
    """X' = M ⊙ X (Eq. 1): (B, C, h, w); unchanged without a gate."""
    if attention is None or attention.mask is None:
        return middle
    mask = spread_cells(attention.mask, size_of(middle))
    return middle * mask[:, None].to(middle.dtype)


def _relation(spec: ScapNetSpec, channels: int) -> PartRelation | PartGraph | None:
    if spec.relation in ("none", "concatenate"):
        return None
    if spec.relation == "gcn":
        return PartGraph(channels)
    if spec.heads > channels:
        raise BadRequest(f"method.heads: {spec.heads} heads cannot share {channels} channels")
    appearance, geometry = spec.relation != "geometry", spec.relation != "appearance"
    return PartRelation(channels, spec.heads, spec.key_size, appearance=appearance, geometry=geometry)


def _by_scale(parts: Parts) -> dict[str, Boxes]:
    """The parts of each scale (scales without parts are left out), as drawn in Fig. 10."""
    counts = list(parts.counts)
    boxes, scores = torch.split(parts.boxes, counts, 1), torch.split(parts.scores, counts, 1)
    return {
        f"scale{u}": Boxes(box, score, torch.ones_like(score, dtype=torch.bool), "part")
        for u, (box, score) in enumerate(zip(boxes, scores, strict=True), 1)
        if box.shape[1]
    }


def _grids(attention: Attention, frame: Tensor) -> dict[str, Grid]:
    """The cells' probability of being kept, and the mask, as drawn in Fig. 8."""
    grids = {"keep": Grid("keep", attention.keep(1).detach(), frame)}
    if attention.mask is not None:
        grids["mask"] = Grid("mask", attention.mask.detach(), frame)
    return grids
