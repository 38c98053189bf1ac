"""safetensors files. Damage is told apart from what hinders reading: permissions, the disk, an interrupt."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fgvc_cli.files import is_text, open_regular
from fgvc_cli.machine.interrupt import held


class DamagedError(Exception):
    """The content of a file is not what was written: its checksum or its format is wrong."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU. DamagedError if the file is no safetensors file; OSError if it cannot be read."""
    with _reading(path) as name:
        return dict(load_file(name))


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of the file, without reading its tensors. Errors are those of `read_tensors`."""
    with _reading(path) as name, safe_open(name, framework="pt") as file:
        return dict(file.metadata() or {})


@contextmanager
def _reading(path: Path) -> Iterator[str]:
    """Within, the name by which safetensors opens the file."""
    # Opened here first, since safetensors reports whatever hinders opening as a missing file.
    with open_regular(path) as stream:
        # safetensors refuses a path that is not UTF-8; the open file has another name, where the system gives it one.
        name = str(path) if is_text(str(path)) else f"/proc/self/fd/{stream.fileno()}"
        try:
            with held():
                yield name
        except SafetensorError as error:
            found = _system_error(error)
            if found is not None:
                raise found from error
            raise DamagedError(str(error).splitlines()[0]) from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a file. OSError if that fails."""
    try:
        with held():
            save_file(dict(tensors), path, metadata=metadata)
    except SafetensorError as error:
        raise _system_error(error) or OSError(errno.EIO, os.strerror(errno.EIO)) from error


def _system_error(error: SafetensorError) -> OSError | None:
    """The OSError, for example of a full disk, that safetensors turned into text."""
    number = re.search(r"os error (\d+)", str(error))
    return None if number is None else OSError(int(number.group(1)), os.strerror(int(number.group(1))))
