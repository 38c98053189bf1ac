"""timm's plain vision transformers as backbones: ViT, DeiT, DINOv2, DINOv3, EVA-02, SigLIP and their kin.

A map is the patch tokens after a block, laid out in their grid. Class and register tokens are carried along beside it.
All maps have one stride, so the feature pyramid takes maps of three depths and resamples the lowest and the highest:
unlike the simple feature pyramid of Li et al. 2022 (https://arxiv.org/abs/2203.16527), this adds no weights to the
backbone, and the network can go on exactly from the lowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fgvc_cli.backbones.network import EMBEDDING, Segment
from fgvc_cli.backbones.timm.network import TimmBackbone

_MAPS = 4  # named maps, at equal distances of depth
_BESIDE = ".tokens"  # ending of the name of what is carried along beside a map


class TokenNetwork(TimmBackbone):
    """A plain vision transformer: embedding of patches, blocks, final norm.

    Maps: `block{n}` after the n-th block, n being a quarter, a half, three quarters and all of the depth; the last one
    after the final norm. For the pyramid also `half` × 2 (`{name}.up`, each token repeated) and the last × 1/2
    (`{name}.down`, averaged).
    """

    def __init__(self, name: str, trunk: nn.Module) -> None:
        network: Any = trunk
        depth, width = len(network.blocks), int(network.embed_dim)
        stride = int(network.patch_embed.patch_size[0])
        ends = sorted({max(1, round(depth * (i + 1) / _MAPS)) for i in range(_MAPS)})
        begins = [0, *ends[:-1]]
        super().__init__(
            name, trunk, [_segment(b, e, depth, width, stride) for b, e in zip(begins, ends, strict=True)], ()
        )
        self._end = {f"block{end}": end for end in ends}
        self._prefix = int(network.num_prefix_tokens)
        if len(ends) >= 3:
            self._up, self._down = f"{self.names[-3]}.up", f"{self.last}.down"
            self._pyramid = (self._up, self.names[-2], self._down)
            self.channels |= dict.fromkeys((self._up, self._down), width)
            self.strides |= {self._up: stride // 2, self._down: stride * 2}

    def beside(self, name: str) -> tuple[str, ...]:
        """The class and register tokens at the depth of a map, (B, n, C), if the network has such tokens."""
        return (self._base(name) + _BESIDE,) if self._prefix else ()

    def forward(
        self, x: Tensor, taps: Sequence[str], after: str | None = None, beside: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `Backbone.forward`."""
        wanted = [self._base(tap.removesuffix(_BESIDE)) for tap in taps]
        ends = {self._end[name] for name in self._reachable(wanted, None if after is None else self._base(after))}
        found = self._run_blocks(*self._start(x, after, beside), ends)
        return {tap: self._view(tap, found) for tap in taps}

    def without_embedding(self) -> None:
        """As `Backbone.without_embedding`: attention pooling, or a norm after pooling."""
        network: Any = self.trunk
        heads = (getattr(network, "attn_pool", None), network.fc_norm)
        if not any(True for head in heads if head is not None for _ in head.parameters()):
            return
        network.attn_pool, network.fc_norm, self.embedding_width = None, nn.Identity(), None

    def positions(self, top: Tensor) -> Tensor | None:
        """The patch tokens, after the norm that follows pooling; None for a classifier that pools by attention."""
        network: Any = self.trunk
        if getattr(network, "attn_pool", None) is not None:
            return None
        normed: Tensor = network.fc_norm(top.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2).float()

    def checkpoint(self, on: bool) -> None:
        """As `Backbone.checkpoint`: block by block; without BatchNorm it is exact."""
        self.checkpointing = on

    def _base(self, name: str) -> str:
        """The map that a name of the pyramid resamples; any other name unchanged."""
        return name.removesuffix(".up").removesuffix(".down")

    def _start(self, x: Tensor, after: str | None, beside: Tensor | None) -> tuple[Tensor, tuple[int, int], int]:
        """Tokens (B, n, C), their grid and the number of blocks behind them."""
        network: Any = self.trunk
        if after is None:
            patches = network.patch_embed(x)
            grid = (patches.shape[1], patches.shape[2]) if patches.ndim == 4 else tuple(network.patch_embed.grid_size)
            embedded = network._pos_embed(patches)  # Eva also returns rotary positions
            tokens = embedded[0] if isinstance(embedded, tuple) else network.patch_drop(embedded)
            return network.norm_pre(tokens), (int(grid[0]), int(grid[1])), 0
        if after.endswith(".up"):
            x = F.avg_pool2d(x, 2)
        tokens = x.flatten(2).transpose(1, 2)
        if self._prefix:
            if beside is None:
                raise ValueError(f"backbone {self.name} goes on from {after} only with {self.beside(after)[0]}")
            tokens = torch.cat([beside, tokens], 1)
        return tokens, (x.shape[2], x.shape[3]), self._end[self._base(after)]

    def _run_blocks(self, tokens: Tensor, grid: tuple[int, int], done: int, ends: set[int]) -> dict[int, Any]:
        """Depth → (tokens, grid) at each of `ends`; after all blocks the tokens are normed."""
        network: Any = self.trunk
        found = {}
        positions = self._rotary(grid)
        for index in range(done, max(ends)):
            tokens = self._block(index, tokens, positions)
            if index + 1 in ends:
                top = index + 1 == len(network.blocks)
                found[index + 1] = (network.norm(tokens) if top else tokens, grid)
        return found

    def _rotary(self, grid: tuple[int, int]) -> Any:
        """Rotary positions of a grid; None for a network without."""
        rope: Any = getattr(self.trunk, "rope", None)
        return None if rope is None else rope.get_embed(shape=grid)

    def _block(self, index: int, tokens: Tensor, positions: Any) -> Tensor:
        network: Any = self.trunk
        block = network.blocks[index]
        more = {}
        if positions is not None:
            more["rope"] = positions[index] if getattr(network, "rope_mixed", False) else positions
        if self._recomputes:
            again: Tensor = checkpoint(block, tokens, use_reentrant=False, **more)
            return again
        run: Tensor = block(tokens, **more)
        return run

    def _view(self, tap: str, found: dict[int, Any]) -> Tensor:
        """A tap, out of the tokens at its depth."""
        if tap == EMBEDDING:
            network: Any = self.trunk
            embedding: Tensor = network.forward_head(found[self._end[self.last]][0], pre_logits=True)
            return embedding.float()
        tokens, (height, width) = found[self._end[self._base(tap.removesuffix(_BESIDE))]]
        if tap.endswith(_BESIDE):
            carried: Tensor = tokens[:, : self._prefix]
            return carried
        grid: Tensor = tokens[:, self._prefix :].transpose(1, 2).reshape(tokens.shape[0], -1, height, width)
        if tap.endswith(".up"):
            return F.interpolate(grid, scale_factor=2, mode="nearest")
        return F.avg_pool2d(grid, 2, ceil_mode=True) if tap.endswith(".down") else grid


def _segment(begin: int, end: int, depth: int, width: int, stride: int) -> Segment:
    """The blocks from `begin` to `end`, the embedding of patches before the first, the final norm after the last."""
    blocks = tuple(f"blocks.{index}" for index in range(begin, end))
    first, last = ("patch_embed",) if begin == 0 else (), ("norm",) if end == depth else ()
    return Segment(f"block{end}", width, stride, (*first, *blocks, *last))
