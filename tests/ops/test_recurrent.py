from __future__ import annotations

import copy

import pytest
import torch

from fgvc_cli.ops.recurrent import Lstm


def test_a_copy_is_compact_too(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Lstm(3, 2, batch_first=True, bidirectional=True)
    compacted = []
    monkeypatch.setattr(Lstm, "flatten_parameters", lambda self: compacted.append(self))  # does nothing on the CPU
    twin = copy.deepcopy(layer)
    assert compacted == [twin]
    sequence = torch.rand(2, 5, 3)
    assert torch.equal(twin(sequence)[0], layer(sequence)[0])
    assert twin.weight_ih_l0.data_ptr() != layer.weight_ih_l0.data_ptr()
