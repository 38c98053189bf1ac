"""REAPS and REAPS+: a region attending network (RAN) crops the regions that part sequence networks (PSN) read.

Zhang et al., REAPS: Towards Better Recognition of Fine-grained Images by Region Attending and Part Sequencing. Letters:
B images, K classes, S image side, C channels, h×w map, N sequence cells, U hidden units of both directions together.
"""

from __future__ import annotations

import copy
import itertools
from typing import ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone
from fgvc_cli.methods.base import Boxes, Evidence, Grid, Head, Method, Output
from fgvc_cli.methods.parts import cross_entropy, global_pool, image_frame, predicted_cam, size_of
from fgvc_cli.ops.boxes import box_of_mask, compose_boxes, grow_boxes
from fgvc_cli.ops.cam import keep_largest_component
from fgvc_cli.ops.crops import crop_and_resize
from fgvc_cli.ops.recurrent import Lstm, lstm_states
from fgvc_cli.spec.methods.reaps import ReapsSpec


def sequence(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average-pool a map to a grid and read it row by row (Eq. 3): (B, C, h, w) → (B, N, C), N = r·c."""
    return F.adaptive_avg_pool2d(features, grid).flatten(2).transpose(1, 2)


class PartSequence(nn.Module):
    """Bidirectional LSTM over the cells, then a linear layer over all hidden states (Eq. 3, 4).

    Args:
        channels: C of the map.
        num_classes: K.
        grid: (r, c) cells.
        units: U, half of them for each direction.
    """

    def __init__(self, channels: int, num_classes: int, grid: tuple[int, int], units: int) -> None:
        super().__init__()
        self.grid = grid
        self.lstm = Lstm(channels, units // 2, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(grid[0] * grid[1] * units, num_classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) → hidden states P_p (B, N, U) and logits (B, K)."""
        states = lstm_states(self.lstm, sequence(features, self.grid))
        return states, self.classifier(states.flatten(1))

    @torch.no_grad()
    def contributions(self, states: Tensor, index: Tensor) -> Tensor:
        """Each cell's contribution to the logit of class `index`; with the bias they sum to that logit.

        (B, N, U) states and (B,) classes → (B, r, c) float32.
        """
        weight = self.classifier.weight.float()[index].view(states.shape)  # (B, N, U)
        return (states.float() * weight).sum(2).view(-1, *self.grid)


class Region(NamedTuple):
    """One network's input region and output for a batch: the region of each image, its map, descriptors and logits."""

    frame: Tensor  # (B, 4) the region, xyxy in network-input pixels
    features: Tensor  # (B, C, h, w)
    pooled: Tensor  # (B, C): A_g of the RAN, P_g of a PSN
    logits: Tensor  # (B, K) of the linear layer on `pooled`
    states: Tensor | None = None  # (B, N, U): P_p
    part_logits: Tensor | None = None  # (B, K)

    @property
    def descriptors(self) -> list[Tensor]:
        """The region's part of the joint representation (Eq. 6)."""
        return [self.pooled] if self.states is None else [self.pooled, self.states.flatten(1)]


class PartSequenceNetwork(nn.Module):
    """PSN: its own backbone with a global head and, unless switched off, a part sequence."""

    def __init__(self, backbone: Backbone, num_classes: int, parts: PartSequence | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(backbone.channels[backbone.last], num_classes)
        self.parts = parts

    def forward(self, crops: Tensor, frame: Tensor) -> Region:
        """(B, 3, S, S) resized regions, and their boxes (B, 4) in the image."""
        features = self.backbone(crops, [self.backbone.last])[self.backbone.last]
        pooled = global_pool(features)
        states, part_logits = (None, None) if self.parts is None else self.parts(features)
        return Region(frame, features, pooled, self.classifier(pooled), states, part_logits)


class Reaps(Method):
    """Region attending network, one part sequence network (two: REAPS+), and the joint layer.

    Branches: `ran` (Table 3 "REAPS wo PSN"), `psn_global` (Table 2 "PSN"), `psn_part`; with a second stage also
    `psn2_global` and `psn2_part`; and `joint`, the final prediction.
    """

    spec: ReapsSpec
    avoids: ClassVar = {
        "part_branch=false": ("lstm",),
        "box=mask": ("max_pool2d",),  # of the largest component
    }

    def __init__(self, spec: ReapsSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__(spec, backbone, num_classes, image_size)
        channels = backbone.channels[backbone.last]
        h, w = backbone.map_sizes(image_size, image_size)[backbone.last]
        grid = (min(spec.grid, h), min(spec.grid, w))
        self.classifier = nn.Linear(channels, num_classes)
        self.networks = nn.ModuleDict()
        for name in ("psn", "psn2")[: spec.stages]:
            parts = PartSequence(channels, num_classes, grid, spec.units) if spec.part_branch else None
            self.networks[name] = PartSequenceNetwork(copy.deepcopy(backbone), num_classes, parts)
        per_network = channels + (grid[0] * grid[1] * spec.units if spec.part_branch else 0)
        self.joint = nn.Linear(channels + spec.stages * per_network, num_classes)

    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, H, W) → the joint logits and the logits of each branch, (B, K) each."""
        regions = self._regions(images)
        # Eq. 6 on detached descriptors: the joint layer sends no gradient into the networks.
        embedding = torch.cat([part for region in regions.values() for part in region.descriptors], 1).detach()
        branches = {"ran": regions["ran"].logits}
        for name in self.networks:
            branches[f"{name}_global"] = regions[name].logits
            part_logits = regions[name].part_logits
            if part_logits is not None:
                branches[f"{name}_part"] = part_logits
        logits = branches["joint"] = self.joint(embedding)
        seen = self._evidence(regions, branches, logits, embedding) if evidence else None
        return Output(logits, branches, {}, seen)

    def final_layers(self) -> list[dict[str, nn.Linear]]:
        """As `Method.final_layers`: a network's region is that of the answer before it."""
        groups = [{"ran": self.classifier}]
        for name, network in self.networks.items():
            network = cast(PartSequenceNetwork, network)
            parts = {} if network.parts is None else {f"{name}_part": network.parts.classifier}
            groups.append({f"{name}_global": network.classifier, **parts})
        groups[-1]["joint"] = self.joint
        return groups

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Eq. 5: the weighted cross entropy of each branch (a second stage as the first), and that of `joint`."""
        return {name: self._weight(name) * cross_entropy(output.branches[name], labels) for name in output.branches}

    def _weight(self, branch: str) -> float:
        """λ1, λ2, λ3 of Eq. 5; 1 for the joint layer, which shares no parameter with the rest."""
        if branch == "ran":
            return self.spec.lambda_ran
        if branch.endswith("_global"):
            return self.spec.lambda_global
        return self.spec.lambda_part if branch.endswith("_part") else 1.0

    def _regions(self, images: Tensor) -> dict[str, Region]:
        """Run all networks: the RAN reads the whole image, each PSN the region that the previous network attended."""
        features = self.backbone(images, [self.backbone.last])[self.backbone.last]
        pooled = global_pool(features)
        region = Region(image_frame(images), features, pooled, self.classifier(pooled))
        regions, weight = {"ran": region}, self.classifier.weight
        for name, network in self._networks().items():
            box = self.attended_box(region, weight, size_of(images))
            # f+ of Eq. 2: always cropped from the original input, so a second crop is not resampled twice
            crops = crop_and_resize(images, box[:, None], size_of(images))[:, 0]
            regions[name] = region = network(crops, box)
            weight = network.classifier.weight
        return regions

    @torch.no_grad()
    def attended_box(self, region: Region, weight: Tensor, size: tuple[int, int]) -> Tensor:
        """BB_τ of Eq. 2: the box of the cells above τ in the CAM of the class that the network predicts.

        Args:
            region: the network's output.
            weight: (K, C) of its linear layer.
            size: (H, W) of the network's input.

        Returns:
            (B, 4) float32 xyxy in image pixels, inside the region; each side is at least `min_box` × the image's side.
        """
        cam = predicted_cam(region.features, weight, region.logits, region.frame).values  # (B, 1, h, w)
        if self.spec.box == "largest_component":
            cam = keep_largest_component(cam[:, 0], self.spec.tau)[:, None]
        mask = F.interpolate(cam, size, mode="bilinear", align_corners=False)[:, 0] > self.spec.tau
        box = compose_boxes(region.frame, box_of_mask(mask)[:, None], size)[:, 0]
        return grow_boxes(box, (self.spec.min_box * size[0], self.spec.min_box * size[1]), region.frame)

    def _evidence(
        self, regions: dict[str, Region], branches: dict[str, Tensor], logits: Tensor, embedding: Tensor
    ) -> Evidence:
        heads = {"ran": Head(regions["ran"].features, self.classifier.weight, regions["ran"].frame)}
        grids: dict[str, Grid] = {}
        for name, network in self._networks().items():
            region = regions[name]
            heads[f"{name}_global"] = Head(region.features, network.classifier.weight, region.frame)
            if network.parts is not None and region.states is not None:
                heads[f"{name}_part"] = Head(region.features, None, region.frame)
                values = network.parts.contributions(region.states, logits.argmax(1))
                grids[name.replace("psn", "sequence")] = Grid("contribution", values, region.frame)
        maps = {
            name: predicted_cam(head.map, head.weight, branches[name], head.frame)
            for name, head in heads.items()
            if head.weight is not None
        }
        return Evidence(maps, _attended(regions), grids, {}, heads, embedding)

    def _networks(self) -> dict[str, PartSequenceNetwork]:
        return {name: cast(PartSequenceNetwork, network) for name, network in self.networks.items()}


def _attended(regions: dict[str, Region]) -> dict[str, Boxes]:
    """Per network the box it attended; the score is the network's probability of the class it predicts."""
    boxes: dict[str, Boxes] = {}
    for name, after in itertools.pairwise(regions):
        score = regions[name].logits.detach().float().softmax(1).amax(1, keepdim=True)
        boxes[name] = Boxes(regions[after].frame[:, None], score, torch.ones_like(score, dtype=torch.bool))
    return boxes
