from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from fgvc_cli.data.loading.augment import augment
from fgvc_cli.data.loading.transforms import generator_of, transform
from fgvc_cli.spec.data import DataSpec
from tests.data.small_archives import spec_of

GREY = [124, 116, 104]  # ImageNet's mean colour
KINDS = {
    "randaugment": (
        {"augment": "randaugment", "augment_operations": 3, "augment_magnitude": 12},
        [v2.RandAugment(3, 12, fill=GREY)],
    ),
    "trivialaugment": ({"augment": "trivialaugment"}, [v2.TrivialAugmentWide(fill=GREY)]),
    "erasing": ({"erasing": 0.7}, [v2.RandomErasing(0.7, value=GREY)]),
    "both": (
        {"augment": "trivialaugment", "erasing": 1.0},
        [v2.TrivialAugmentWide(fill=GREY), v2.RandomErasing(1.0, value=GREY)],
    ),
}


def picture() -> Tensor:
    return torch.from_numpy(np.random.RandomState(0).randint(0, 256, (3, 32, 32)).astype(np.uint8))


def spec(kind: str) -> DataSpec:
    return spec_of("folder", flip=False, **KINDS[kind][0])


@pytest.mark.parametrize("kind", KINDS)
def test_is_torchvisions_own_from_the_images_dice(kind: str) -> None:
    """The oracle draws from the global generator, seeded alike."""
    changed = 0
    for seed in range(40):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            expected = picture()
            for step in KINDS[kind][1]:
                expected = step(expected)
        found = augment(picture(), spec(kind), torch.Generator().manual_seed(seed))
        assert (found.shape, found.dtype) == ((3, 32, 32), torch.uint8)
        assert torch.equal(found, expected)
        changed += not torch.equal(found, picture())
    assert changed > 20


@pytest.mark.parametrize("kind", KINDS)
def test_threads_and_the_rest_of_the_process_are_left_alone(kind: str) -> None:
    data = spec(kind)

    def draw(index: int) -> Tensor:
        return transform(picture(), data, generator=generator_of(0, 0, index))[0]

    alone = [draw(index) for index in range(60)]
    torch.manual_seed(3)
    state, numpys, pythons = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, range(60)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpys)
    assert random.getstate() == pythons
    assert len({image.numpy().tobytes() for image in alone}) > 25


def test_off_draws_nothing_and_evaluation_is_never_augmented() -> None:
    generator = torch.Generator().manual_seed(1)
    state = generator.get_state()
    image = picture()
    assert augment(image, spec_of("folder"), generator) is image
    assert torch.equal(generator.get_state(), state)
    assert torch.equal(transform(image, spec("both"))[0], image)


def test_share_of_erased_images() -> None:
    data = spec_of("folder", flip=False, erasing=0.25)
    erased = [not torch.equal(augment(picture(), data, generator_of(0, 0, i)), picture()) for i in range(800)]
    assert 0.2 < np.mean(erased) < 0.3


def test_only_copies_and_what_a_gpu_cache_cannot_do() -> None:
    assert spec_of("folder", cache="gpu", padding=4).only_copies
    for values in ({"rotation": 5.0}, {"augment": "randaugment"}, {"erasing": 0.1}):
        assert not spec_of("folder", **values).only_copies
        with pytest.raises(ValueError, match="need cache ram or disk"):
            spec_of("folder", cache="gpu", **values)
