"""What only a GPU can show: `pytest -m gpu`. No step waits for the device, and batches arrive whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.data.loading.to_device import ahead
from fgvc_cli.data.types import Batch
from fgvc_cli.evaluation.counting.measures import Measures
from fgvc_cli.inference.dataset import open_index
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.training.learner import Learner
from fgvc_cli.training.session import Averages
from tests.conftest import STEPPED, small_spec
from tests.training.test_learner import uint8_batch
from tests.training.test_train import quiet

pytestmark = pytest.mark.gpu

SETS = ("train.device=cuda", "train.ema_decay=0.9", "optim.clip_norm=1", "regularise.mixup_alpha=0.2")


@contextmanager
def nothing_waits() -> Iterator[None]:
    """An error from whatever makes the host wait for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def pinned(size: int) -> Batch:
    return uint8_batch(size).pin_memory()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", STEPPED)
def test_no_step_waits(photos, method, precision, optimizer) -> None:
    sets = (*SETS, f"train.precision={precision}", f"optim.optimizer.name={optimizer}")
    spec = small_spec(photos, method, *sets)
    device = prepare_device(spec.train)
    learner = Learner.build(spec, 3, device, steps_per_epoch=10, load_weights=False)
    learner.begin_epoch(spec.train.epochs - 1)
    averages, measures = Averages(), Measures(3, device)

    def step(batch: Batch) -> None:
        learner.method.train()
        batch = learner.prepared(batch)
        averages.add(learner.backward(batch), len(batch.labels))
        learner.update()
        hard = Batch(batch.images, batch.labels.argmax(1), batch.index, batch.to_original)
        with torch.inference_mode():
            measures.update(learner.selected.eval()(hard.images), hard)

    for batch in ahead(iter([pinned(4) for _ in range(3)]), device):  # cuDNN tries its algorithms
        step(batch)
    batches = [pinned(4) for _ in range(3)]
    torch.cuda.synchronize()
    with nothing_waits():
        for batch in ahead(iter(batches), device):
            step(batch)
    assert all(torch.isfinite(torch.tensor(value)) for value in averages.flush().values())


@pytest.mark.parametrize("cache", ["off", "disk", "gpu"])
def test_the_same_batches_arrive_as_on_the_cpu(photos, tmp_path, cache) -> None:
    from fgvc_cli.data.loading.cache import open_cache

    spec = small_spec(photos, "baseline", f"data.cache={cache}")
    index = open_index(RunFolder(tmp_path), spec.data, quiet())
    device = torch.device("cuda")
    cache = open_cache(index, spec.data, device, lambda *_: None)
    there = make_loader(index, index.train, spec.data, batch_size=3, train=True, device=device, cache=cache)
    here = make_loader(index, index.train, spec.data, batch_size=3, train=True)
    for found, expected in zip(there.epoch(1), here.epoch(1), strict=True):
        torch.cuda._sleep(10_000_000)  # the next copy must not overwrite what is not used yet
        assert torch.equal(found.images.cpu(), expected.images)
        assert torch.equal(found.labels.cpu(), expected.labels)
        assert torch.equal(found.to_original.cpu(), expected.to_original)
