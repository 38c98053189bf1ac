"""What the methods' tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from fgvc_cli.methods.apcnn.method import ApCnn
from fgvc_cli.methods.base import Method
from fgvc_cli.methods.reaps import Reaps
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.reaps import ReapsSpec
from tests.making import method_on
from tests.methods.common import Build


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """On maps this small a second thread only waits, and on a busy machine it waits long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def build() -> Build:
    """Build a method on a seeded `tiny` backbone: (spec, num_classes=5, image_size=64, backbone="tiny")."""

    def make(spec: MethodSpec, num_classes: int = 5, image_size: int = 64, backbone: str = "tiny") -> Method:
        torch.manual_seed(0)
        return method_on(backbone, spec, num_classes, image_size)

    return make


@pytest.fixture(scope="session")
def reaps(build: Build) -> Callable[..., Reaps]:
    """Build a small REAPS for 5 classes, in evaluation mode: (image_size=64, **fields of its spec)."""

    def make(image_size: int = 64, **fields: Any) -> Reaps:
        method = build(ReapsSpec(**{"units": 16, **fields}), 5, image_size)
        assert isinstance(method, Reaps)
        return method.eval()

    return make


@pytest.fixture(scope="session")
def apcnn(build: Build) -> Callable[..., ApCnn]:
    """Build a small AP-CNN in evaluation mode: (num_classes=5, image_size=64, **fields of its spec)."""

    def make(num_classes: int = 5, image_size: int = 64, **fields: Any) -> ApCnn:
        method = build(ApCnnSpec(**{"width": 16, "reduction": 4, "hidden": 8, **fields}), num_classes, image_size)
        assert isinstance(method, ApCnn)
        return method.eval()

    return make
