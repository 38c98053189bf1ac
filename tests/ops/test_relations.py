"""Relations over positions beside loops over pairs (CLAN Eq. 2 with Eq. 5 to 7), and what they never build."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fgvc_cli.ops.relations import dot_product_relation, softmax_relation

Relation = Callable[[Tensor, Tensor, Tensor], Tensor]


def triple(d: int, e: int, n: int, dtype: torch.dtype = torch.float64, grad: bool = False) -> list[Tensor]:
    dice = torch.Generator().manual_seed(5)
    return [torch.randn(2, c, n, generator=dice, dtype=dtype).requires_grad_(grad) for c in (d, d, e)]


def literal(query: Tensor, key: Tensor, value: Tensor, exponential: bool) -> Tensor:
    """Eq. 2, pair by pair."""
    y = torch.zeros_like(value)
    batch, _, n = value.shape
    for b in range(batch):
        for i in range(n):
            f = [float((query[b, :, i] * key[b, :, j]).sum()) for j in range(n)]
            if exponential:
                f = [math.exp(x) for x in f]
            normaliser = sum(f) if exponential else n
            for j in range(n):
                y[b, :, i] += f[j] * value[b, :, j] / normaliser
    return y


@pytest.mark.parametrize(("d", "e"), [(3, 3), (4, 2), (2, 5)])
def test_dot_product_equals_eq_7(d: int, e: int) -> None:
    inputs = triple(d, e, 7)
    torch.testing.assert_close(dot_product_relation(*inputs), literal(*inputs, exponential=False))


@pytest.mark.parametrize(("d", "e"), [(3, 3), (4, 2), (2, 5)])
def test_softmax_equals_eq_5_and_6(d: int, e: int) -> None:
    inputs = triple(d, e, 7)
    torch.testing.assert_close(softmax_relation(*inputs), literal(*inputs, exponential=True))


def test_two_positions_by_hand() -> None:
    query = torch.tensor([[[1.0, 2.0]]])
    key = torch.tensor([[[3.0, 4.0]]])
    value = torch.tensor([[[10.0, 20.0]]])
    # (1·3·10 + 1·4·20) / 2 and (2·3·10 + 2·4·20) / 2
    torch.testing.assert_close(dot_product_relation(query, key, value), torch.tensor([[[55.0, 110.0]]]))
    w = [1 / (1 + math.exp(4 * q - 3 * q)) for q in (1, 2)]
    expected = torch.tensor([[[10 * a + 20 * (1 - a) for a in w]]])
    torch.testing.assert_close(softmax_relation(query, key, value), expected)


@pytest.mark.parametrize("n", [64, 784])
def test_linear_order_equals_the_matrix_to_1e_5(n: int) -> None:
    query, key, value = triple(64, 64, n, torch.float32)
    expected = (value @ (query.transpose(1, 2) @ key / n).transpose(1, 2)).double()
    error = (dot_product_relation(query, key, value) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


@pytest.mark.parametrize("relation", [dot_product_relation, softmax_relation])
@pytest.mark.parametrize(("d", "e"), [(3, 3), (3, 2)])
def test_gradients(relation: Relation, d: int, e: int) -> None:
    assert torch.autograd.gradcheck(relation, triple(d, e, 5, grad=True))


class Largest(TorchDispatchMode):
    """Whether any operation takes or gives a tensor with two sides of n."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor)]
        if any(list(t.shape).count(self.n) > 1 for t in tensors):
            self.found.append(func.name())
        return result


@pytest.mark.parametrize("relation", [dot_product_relation, softmax_relation])
@pytest.mark.parametrize(("d", "e"), [(8, 8), (8, 4)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_no_matrix_of_positions_is_ever_made_or_kept(relation: Relation, d: int, e: int, channels_last: bool) -> None:
    """Forward and backward; the check itself sees the matrix where there is one."""
    n = 37
    inputs = triple(d, e, n, torch.float32, grad=True)
    if channels_last:
        inputs = [x.detach().mT.contiguous().mT.requires_grad_() for x in inputs]
    kept: list[tuple[int, ...]] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(tuple(value.shape))
        return value

    with Largest(n) as seen, torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        relation(*inputs).square().sum().backward()
    assert seen.found == []
    assert kept
    assert not any(shape.count(n) > 1 for shape in kept)
    with Largest(n) as seen:
        inputs[0].mT @ inputs[1]
    assert seen.found


def test_half_precision_holds_long_sums() -> None:
    """3136 positions whose values are 40: without 1/n on the keys the sum would leave float16's range."""
    n = 3136
    query = torch.ones(1, 4, n, dtype=torch.float16)
    many = torch.full((1, 4, n), 40.0, dtype=torch.float16)
    assert torch.isfinite(dot_product_relation(query, many, many)).all()
