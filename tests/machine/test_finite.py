from __future__ import annotations

import pytest
import torch

from fgvc_cli.errors import FgvcError
from fgvc_cli.machine.finite import check_tensors, check_values


def test_a_finite_state_passes() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    check_tensors({"weight": weight, "count": torch.tensor(3), "optimizer": optimizer.state_dict()})
    check_tensors({})
    check_values({"loss": 1.0})


def test_what_is_not_finite_is_named_in_one_line() -> None:
    good, bad = torch.ones(2), torch.tensor([1.0, torch.nan])
    with pytest.raises(FgvcError, match=r"^the weights are no longer finite \(b\): start again with a smaller --lr"):
        check_tensors({"a": good, "b": bad})
    state = {"state": {0: {"exp_avg_sq": bad * torch.inf}}, "groups": [bad.half()]}
    with pytest.raises(FgvcError, match=r"\(optimizer.state.0.exp_avg_sq and 1 more\)"):
        check_tensors({"a": good, "optimizer": state})
    with pytest.raises(FgvcError, match=r"the loss is no longer finite \(loss, ran\)"):
        check_values({"loss": float("inf"), "ran": float("nan"), "top1": 1.0})
