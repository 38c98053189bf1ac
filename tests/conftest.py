"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder with real parts of CUB and Stanford Cars in their official layouts."""
    folder = os.environ.get("FGVC_REALDATA")
    if not folder:
        pytest.skip("FGVC_REALDATA is not set")
    return Path(folder)
