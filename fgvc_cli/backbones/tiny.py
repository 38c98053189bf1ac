"""A small residual network for the demo dataset, tests and machines without a GPU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 48, 96, 160)
STRIDES = (2, 4, 4, 8, 16)  # input pixels per cell, of the stem and the four stages


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with a 1×1 shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, 3, stride)
        self.second = _conv(outputs, outputs, 3)
        self.shortcut = _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C', h/stride, w/stride)."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class TinyNet(nn.Module):
    """0.57 M parameters: a 3×3 stem of stride 2, then four stages of one residual block. `Backbone` runs the stages."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*_conv(3, WIDTHS[0], 3, stride=2), nn.ReLU(inplace=True))
        for stage in range(1, 5):
            stride = STRIDES[stage] // STRIDES[stage - 1]
            self.add_module(f"conv{stage + 1}", ResidualBlock(WIDTHS[stage - 1], WIDTHS[stage], stride))
