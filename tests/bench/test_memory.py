"""Peak memory against tensors whose sizes are known."""

from __future__ import annotations

import pytest
import torch

from fgvc_cli.bench.memory import PeakMemory, allocated, allocated_at_peak, storage_bytes

MEGA = 1_000_000


def test_what_is_held_at_once_counts() -> None:
    """4 MB, then 4 more, the first freed, then 4 more: 8 MB at the most."""

    def step() -> None:
        first = torch.zeros(MEGA)
        second = first + 1
        del first
        second * 2

    assert 8 * MEGA <= allocated_at_peak(step) < 8 * MEGA + 4096


def test_what_the_backward_pass_keeps_counts() -> None:
    weight = torch.ones(MEGA, requires_grad=True)

    def step() -> None:
        (weight.sin() * 2).sum().backward()  # sin 4 MB, its double 4 MB (the sine is freed); then gradients
        weight.grad = None

    assert 8 * MEGA <= allocated_at_peak(step) < 13 * MEGA


def test_freeing_what_was_there_before_takes_nothing_off() -> None:
    there = [torch.zeros(MEGA)]

    def step() -> None:
        there.clear()
        torch.zeros(MEGA // 4)

    assert MEGA <= allocated_at_peak(step) < MEGA + 4096


def test_shared_storage_counts_once() -> None:
    whole = torch.zeros(1000)
    assert storage_bytes([whole, whole[:10], whole.view(10, 100)]) == 4000


def test_the_cpu_adds_what_stays() -> None:
    lasting = torch.zeros(MEGA)
    found = PeakMemory(torch.device("cpu"), 0).of(lambda: torch.ones(2 * MEGA), lambda: [lasting])
    assert 12 * MEGA <= found < 12 * MEGA + 4096


@pytest.mark.gpu
def test_a_gpu_takes_off_what_others_keep() -> None:
    device = torch.device("cuda")
    others = torch.zeros(MEGA, device=device)
    before = allocated(device)
    lasting = torch.zeros(MEGA, device=device)
    own = allocated(device) - before
    later = torch.zeros(MEGA, device=device)  # built after it, before its steps
    found = PeakMemory(device, own).of(lambda: torch.zeros(2 * MEGA, device=device), lambda: [lasting])
    assert 12 * MEGA <= found < 12 * MEGA + 4096
    del others, later
