"""AP-CNN: attention pyramid convolutional neural network.

Ding et al., Weakly Supervised Attention Pyramid Convolutional Neural Network for Fine-Grained Visual Classification.
Letters: B images, K classes, C channels, h×w map, R regions of interest (ROIs). Levels are p3, p4, p5, finest first.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods.apcnn.pyramid import (
    AttentionPyramid,
    FeaturePyramid,
    Layout,
    TopOnly,
    attended,
    average,
    classifier,
    start_as_released,
)
from fgvc_cli.methods.apcnn.rois import RoiPyramid, Rois, chosen_roi, joined, merged_cells, random_rois
from fgvc_cli.methods.base import Boxes, Evidence, Head, Maps, Method, Output
from fgvc_cli.methods.parts import carried, cross_entropy, global_pool, image_frame, size_of, strength
from fgvc_cli.ops.anchors import whole_cells
from fgvc_cli.ops.boxes import whole_image
from fgvc_cli.ops.crops import crop_and_resize
from fgvc_cli.ops.dropblock import dropblock
from fgvc_cli.spec.methods.apcnn import ApCnnSpec

INPUT = "input"


class Stage(NamedTuple):
    """What one stage computed for a batch."""

    frame: Tensor  # (B, 4) the part of the image that it covers, xyxy in network-input pixels
    levels: dict[str, Tensor]  # F_k (B, C, h, w)
    spatial: dict[str, Tensor]  # A_s (B, 1, h, w) by level; empty without these gates
    channel: dict[str, Tensor]  # A_c (B, C) likewise
    vectors: dict[str, Tensor]  # input of each head: pooled F'_k (B, C); for the fused head all ungated levels
    logits: dict[str, Tensor]  # (B, K) by head


class ApCnn(Method):
    """Feature pyramid, gates and one classifier per level, run twice: on the image, then on its refined low-level map.

    Branches: `raw_p3`, `raw_p4`, `raw_p5`, `raw_fused` and their average `raw`, of the second stage `refined_...` and
    `refined`, and `final`, the average of all heads.
    """

    spec: ApCnnSpec
    avoids: ClassVar = {
        "zoom=false": ("grid_sampler",),
        "refine=false": ("grid_sampler", "gather", "index_select", "embedding", "masked_fill"),
        "average=logits": ("logsumexp", "log_softmax"),
    }

    def __init__(self, spec: ApCnnSpec, backbone: Backbone, num_classes: int, image_size: int) -> None:
        super().__init__(spec, backbone, num_classes, image_size)
        maps = backbone.pyramid
        self.layout = Layout.of(spec, backbone.name, num_classes)
        self.levels = ("p5",) if spec.pyramid == "none" else ("p3", "p4", "p5")
        channels = [backbone.channels[name] for name in maps]
        if spec.pyramid == "none":
            self.neck: nn.Module = TopOnly()
        else:
            self.neck = FeaturePyramid(channels, spec.width, self.layout)
        self.gates = AttentionPyramid(spec, len(self.levels), spec.width)
        if spec.start == "released":
            start_as_released(nn.ModuleList([self.neck, self.gates]))
        self.heads = self._heads(channels[-1])
        self.refined_map = self._refined_map() if spec.refine else INPUT
        if spec.refine:
            sizes = backbone.map_sizes(image_size, image_size)
            strides = [backbone.strides[name] for name in maps]
            self.rois = RoiPyramid(spec, strides, [sizes[name] for name in maps], image_size)

    def _heads(self, top: int) -> nn.ModuleDict:
        """One classifier per level and the fused one; without a pyramid one linear layer, as in the plain backbone."""
        spec, hidden, classes = self.spec, self.layout.hidden, self.num_classes
        if spec.pyramid == "none":
            return nn.ModuleDict({"p5": nn.Linear(top, classes)})
        heads = nn.ModuleDict({name: classifier(spec.width, hidden, classes) for name in self.levels})
        if spec.fused_head:
            inputs = top if self.layout.fused_top else spec.width * len(self.levels)
            heads["fused"] = classifier(inputs, hidden, classes)
        return heads

    def _refined_map(self) -> str:
        """The name in the backbone of the map that is refined.

        Raises:
            BadRequest: the backbone has no such map, or cannot go on from it.
        """
        wanted, backbone = self.spec.refine_at, self.backbone
        if wanted == INPUT:
            return INPUT
        wish = f"method.refine_at={wanted}"
        if not backbone.reenters:
            raise BadRequest(f"{wish}: backbone {backbone.name} runs whole only: set method.refine_at=input")
        if wanted == "conv3":
            return backbone.pyramid[0]
        below = backbone.names[: backbone.names.index(backbone.pyramid[0])]
        found = [name for name in (wanted, wanted.replace("conv", "pool")) if name in below]
        if not found:
            raise BadRequest(f"{wish}: backbone {backbone.name} has no such map; those below its pyramid: {below}")
        return found[0]

    def forward(self, images: Tensor, *, evidence: bool = False) -> Output:
        """(B, 3, H, W) → the averaged logits and one tensor of logits per head and stage, each (B, K)."""
        named = [] if self.refined_map == INPUT else [self.refined_map, *self.backbone.beside(self.refined_map)]
        maps = self.backbone(images, list(dict.fromkeys([*self.backbone.pyramid, *named])))
        stages = {"raw": self._stage(maps, image_frame(images))}
        rois: list[Rois] = []
        if self.spec.refine:
            rois = self._rois(stages["raw"], images)
            stages["refined"] = self._refined_stage(maps, rois, images)
        branches = {f"{stage}_{name}": one for stage in stages for name, one in stages[stage].logits.items()}
        every = list(branches.values())
        for name, stage in stages.items():
            branches[name] = average(list(stage.logits.values()), self.layout.average)
        logits = branches["final"] = average(every, self.layout.average)
        seen = self._evidence(stages, rois, logits) if evidence else None
        return Output(logits, branches, {}, seen)

    def final_layers(self) -> list[dict[str, nn.Linear]]:
        """As `Method.final_layers`: both stages share them."""
        return [{name: _final_layer(head) for name, head in self.heads.items()}]

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """The cross entropy of every head of both stages."""
        heads = [name for name in output.branches if name.startswith(("raw_", "refined_"))]
        return {name: cross_entropy(output.branches[name], labels) for name in heads}

    def rates(self) -> dict[str, float]:
        """`trunk_rate` for the trunk before its top stage.

        Of a backbone that runs whole (some of timm's) the stages cannot be told apart: all of it counts as before.
        """
        backbone = self.backbone
        start = backbone.names.index(backbone.pyramid[1]) + 1
        paths = [path for segment in backbone.segments[start:] for path in segment.modules]
        top = {id(p) for path in paths for p in backbone.trunk.get_submodule(path).parameters()}
        slow = (name for name, value in backbone.named_parameters(prefix="backbone") if id(value) not in top)
        return dict.fromkeys(slow, self.spec.trunk_rate)

    def _stage(self, maps: dict[str, Tensor], frame: Tensor) -> Stage:
        """Pyramid, gates and classifiers on the trunk's maps (Section 3.1), the same in both stages."""
        bottom = [maps[name] for name in self.backbone.pyramid]
        levels = self.neck(bottom)
        pooled = [global_pool(level) for level in levels]  # Eq. 3
        spatial, channel = (dict(zip(self.levels, gates, strict=False)) for gates in self.gates(levels, pooled))
        vectors = {
            name: attended(level, mean, spatial.get(name), channel.get(name))  # Eq. 4
            for name, level, mean in zip(self.levels, levels, pooled, strict=True)
        }
        if "fused" in self.heads:
            vectors["fused"] = global_pool(bottom[-1]) if self.layout.fused_top else torch.cat(pooled, 1)
        logits = {name: self.heads[name](vector) for name, vector in vectors.items()}
        return Stage(frame, dict(zip(self.levels, levels, strict=True)), spatial, channel, vectors, logits)

    def _rois(self, raw: Stage, images: Tensor) -> list[Rois]:
        """The ROI pyramid of the raw stage."""
        image = size_of(images)
        if self.spec.guidance == "random":
            sizes = [size_of(level) for level in raw.levels.values()]
            return random_rois(self.rois, sizes, image, images, self.training)
        return self.rois.of_gates(list(raw.spatial.values()), image)

    def _refined_stage(self, raw: dict[str, Tensor], rois: list[Rois], images: Tensor) -> Stage:
        """Algorithm 1 on the image or on one of the raw maps, then the rest of the trunk and the pyramid again."""
        pyramid, name = self.backbone.pyramid, self.refined_map
        refined, frame = self.refine(images if name == INPUT else raw[name], rois, images)
        if name == INPUT:
            return self._stage(self.backbone(refined, pyramid), frame)
        above = [tap for tap in pyramid if tap != name]
        maps = self.backbone(refined, above, after=name, beside=carried(raw, self.backbone.beside(name)))
        if name == pyramid[0]:
            maps[name] = refined
        return self._stage(maps, frame)

    def refine(self, source: Tensor, rois: list[Rois], images: Tensor) -> tuple[Tensor, Tensor]:
        """Algorithm 1: drop one ROI (only in training), zoom in on all of them.

        Args:
            source: (B, C, h, w) the map, or the images.
            rois: by level.
            images: the network's input, for its size.

        Returns:
            (B, C, h, w) Z_n, and (B, 4) the part of the image it shows, in network-input pixels.
        """
        stride = 1 if self.refined_map == INPUT else self.backbone.strides[self.refined_map]
        size = size_of(source)
        everything = whole_image(source.shape[0], *size, source.device)
        cells = merged_cells(joined(rois), stride, size) if self.spec.zoom else everything
        if self.spec.erase and self.training:
            box, present = chosen_roi(rois, self.layout.drop_rates)
            within = everything if self.spec.drop_rescale == "map" else cells
            source = dropblock(source, whole_cells(box, stride, size), present, within)  # Eq. 5, 6
        if not self.spec.zoom:
            return source, image_frame(images)
        zoomed = crop_and_resize(source, cells[:, None], size)[:, 0]  # Eq. 7
        return zoomed, torch.minimum(cells * stride, image_frame(images)[:, 2:].repeat(1, 2))

    def _evidence(self, stages: dict[str, Stage], rois: list[Rois], logits: Tensor) -> Evidence:
        maps: dict[str, Maps] = {}
        heads: dict[str, Head] = {}
        for stage, seen in stages.items():
            for name, level in seen.levels.items():
                head = self.heads[name]
                heads[f"{stage}_{name}"] = Head(level, head.weight if isinstance(head, nn.Linear) else None, seen.frame)
                maps |= _gate_maps(stage, name, seen)
        if not maps:  # no gate to show: the mean activation of the levels
            for stage, seen in stages.items():
                for name, level in seen.levels.items():
                    maps[f"{stage}_{name}"] = Maps("activation", strength(level), seen.frame)
        boxes = {name: Boxes(*level, kind="roi") for name, level in zip(self.levels, rois, strict=False)}
        if rois and self.spec.zoom:
            score = logits.detach().float().softmax(1).amax(1, keepdim=True)
            valid = torch.ones_like(score, dtype=torch.bool)
            boxes["zoom"] = Boxes(stages["refined"].frame[:, None], score, valid, "merged")
        embedding = torch.cat([vector for seen in stages.values() for vector in seen.vectors.values()], 1)
        return Evidence(maps, boxes, {}, {}, heads, embedding.detach())


def _final_layer(head: nn.Module) -> nn.Linear:
    return cast(nn.Linear, head[-1] if isinstance(head, nn.Sequential) else head)


def _gate_maps(stage: str, name: str, seen: Stage) -> dict[str, Maps]:
    """The gates of one level: spatial as a map, channel as one number per channel over the whole frame."""
    maps = {}
    if name in seen.spatial:
        maps[f"{stage}_{name}"] = Maps("gate", seen.spatial[name].detach(), seen.frame)
    if name in seen.channel:
        values = seen.channel[name].detach()[:, :, None, None]
        maps[f"{stage}_{name}_channels"] = Maps("channels", values, seen.frame)
    return maps
