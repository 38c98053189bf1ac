"""LSTM that torch.compile treats as one operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Lstm(nn.LSTM):
    """An LSTM whose copies are as compact on a GPU as itself: cuDNN wants all weights in one piece of memory."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called by copy.deepcopy, which copies weight by weight."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.flatten_parameters()


def lstm_states(lstm: nn.LSTM, sequence: Tensor) -> Tensor:
    """The hidden states (B, N, U) of an LSTM over sequences (B, N, C), with zero initial state.

    torch.compile would unroll the loop over N cells in both directions, and in training compile every step. As a
    custom operation the layer causes no graph break and runs the same kernels as without torch.compile.

    Args:
        lstm: batch_first, with biases, without dropout and projection.
        sequence: on the same device as `lstm`.
    """
    if not torch.compiler.is_dynamo_compiling() or torch.compiler.is_exporting():
        states: Tensor = lstm(sequence)[0]
        return states
    tensors = [sequence, *lstm.parameters()]
    kind = sequence.device.type
    if torch.is_autocast_enabled(kind):  # the same casts as autocast does for nn.LSTM
        tensors = [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]
    compiled: Tensor = _lstm(tensors[0], tensors[1:], lstm.bidirectional)
    return compiled


def _states(sequence: Tensor, weights: list[Tensor], bidirectional: bool) -> Tensor:
    layers = len(weights) // (8 if bidirectional else 4)
    start = sequence.new_zeros(len(weights) // 4, len(sequence), weights[1].shape[1])
    states: Tensor
    states, _, _ = torch.lstm(sequence, (start, start), weights, True, layers, 0.0, True, bidirectional, True)
    return states.contiguous()


@torch.library.custom_op("fgvc::lstm", mutates_args=())
def _lstm(sequence: Tensor, weights: list[Tensor], bidirectional: bool) -> Tensor:
    return _states(sequence, weights, bidirectional)


@_lstm.register_fake
def _(sequence: Tensor, weights: list[Tensor], bidirectional: bool) -> Tensor:
    return sequence.new_empty(*sequence.shape[:2], weights[1].shape[1] * (2 if bidirectional else 1))


@torch.library.custom_op("fgvc::lstm_backward", mutates_args=())
def _lstm_backward(gradient: Tensor, sequence: Tensor, weights: list[Tensor], bidirectional: bool) -> list[Tensor]:
    """Gradients of the sequence and of each weight; the states are computed again, which is cheap."""
    with torch.enable_grad():  # only then oneDNN saves what its backward pass needs
        _, pullback, *_ = torch.func.vjp(lambda x, w: _states(x, w, bidirectional), sequence, list(weights))
        of_sequence, of_weights = pullback(gradient)
    # Copies, because the two biases of a cell share one gradient, but a custom op's outputs must not share memory.
    return [tensor.detach().clone(memory_format=torch.contiguous_format) for tensor in (of_sequence, *of_weights)]


@_lstm_backward.register_fake
def _(gradient: Tensor, sequence: Tensor, weights: list[Tensor], bidirectional: bool) -> list[Tensor]:
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (sequence, *weights)]


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    sequence, weights, ctx.bidirectional = inputs
    ctx.save_for_backward(sequence, *weights)


def _backward(ctx, gradient: Tensor) -> tuple[Tensor, list[Tensor], None]:  # type: ignore[no-untyped-def]
    sequence, *weights = ctx.saved_tensors
    of_sequence, *of_weights = _lstm_backward(gradient.contiguous(), sequence, weights, ctx.bidirectional)
    return of_sequence, of_weights, None


_lstm.register_autograd(_backward, setup_context=_setup_context)
