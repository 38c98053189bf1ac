"""A program as a file of torch.export (`.pt2`), with what answers need beside the network."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fgvc_cli.files import json_text
from fgvc_cli.inference.exported.about import IMAGES, KEY, ExportAbout

EXTRA = f"{KEY}.json"  # the extra file inside it


def write_program(program: torch.export.ExportedProgram, about: ExportAbout, file: Path) -> None:
    """Write it; OSError if that fails."""
    whole = io.BytesIO()  # on a full disk its own writer ends the process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about weights on other devices: these are on the CPU
        torch.export.save(program, whole, extra_files={EXTRA: json_text(about.model_dump(mode="json"))})
    file.write_bytes(whole.getbuffer())


@dataclass(frozen=True)
class ProgramSession:
    """A loaded program that is asked as onnxruntime's sessions are."""

    module: torch.nn.Module
    names: Sequence[str]  # of its outputs

    @classmethod
    def load(cls, file: Path, names: Sequence[str]) -> ProgramSession:
        """Of a file of `write_program`."""
        return cls(torch.export.load(file).module(), names)

    def run(self, names: Sequence[str], feed: Mapping[str, NDArray[np.uint8]]) -> list[NDArray[Any]]:
        """The named outputs for `feed["images"]`."""
        with torch.no_grad():
            found = dict(zip(self.names, self.module(torch.from_numpy(feed[IMAGES])), strict=True))
        return [found[name].numpy() for name in names]
