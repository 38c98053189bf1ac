"""Relative geometry and its code beside literal loops."""

from __future__ import annotations

import math

import pytest
import torch

from fgvc_cli.ops.geometry import relative_geometry, wave_code


def test_geometry_equals_the_literal_loop() -> None:
    torch.manual_seed(0)
    corner = torch.rand(2, 5, 2, dtype=torch.float64) * 100
    boxes = torch.cat([corner, corner + 1 + 50 * torch.rand(2, 5, 2, dtype=torch.float64)], 2)
    boxes[:, 4] = boxes[:, 3]  # two parts at the same place
    found = relative_geometry(boxes)
    for b in range(2):
        for m in range(5):
            for n in range(5):
                (a1, b1, a2, b2), (c1, d1, c2, d2) = boxes[b, m].tolist(), boxes[b, n].tolist()
                w_m, h_m, w_n, h_n = a2 - a1, b2 - b1, c2 - c1, d2 - d1
                dx, dy = abs((a1 + a2) / 2 - (c1 + c2) / 2), abs((b1 + b2) / 2 - (d1 + d2) / 2)
                far = [math.log(max(dx / w_m, 1e-3)), math.log(max(dy / h_m, 1e-3))]
                expected = [*far, math.log(w_n / w_m), math.log(h_n / h_m)]
                assert found[b, m, n].tolist() == pytest.approx(expected)
    assert found[0, 3, 4].tolist() == pytest.approx([math.log(1e-3), math.log(1e-3), 0, 0])


def test_geometry_does_not_depend_on_the_scale() -> None:
    boxes = torch.tensor([[0.0, 0, 16, 16], [16, 32, 48, 64], [0, 16, 48, 64]])
    torch.testing.assert_close(relative_geometry(7 * boxes), relative_geometry(boxes))


def test_the_code_equals_the_literal_loop() -> None:
    values = torch.randn(3, 4, dtype=torch.float64)
    found = wave_code(values)
    assert found.shape == (3, 64)
    for b in range(3):
        angles = [100 * float(value) / 1000 ** (i / 8) for value in values[b] for i in range(8)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert found[b].tolist() == pytest.approx(expected)
