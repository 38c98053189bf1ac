"""Variables of MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.errors import BadRequest


def variable(path: Path, name: str) -> Any:
    """A variable of a .mat file as a one-dimensional array."""
    import scipy.io  # here, since only the datasets that need it pay for it

    try:
        return np.atleast_1d(scipy.io.loadmat(path, variable_names=[name], squeeze_me=True)[name])
    except KeyError:
        raise BadRequest(f"{path}: holds no {name}; is it the right file?") from None
    except Exception as error:  # scipy raises anything, from OSError to zlib.error, on a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRequest(f"{path}: is no readable .mat file ({reason}); get it again") from None


def texts(path: Path, name: str) -> list[str]:
    """A variable that holds texts."""
    return [str(value).strip() for value in variable(path, name)]


def numbers(path: Path, name: str) -> NDArray[np.int64]:
    """A variable that holds whole numbers, (N,)."""
    return _whole(path, name, variable(path, name))


def column(path: Path, annotations: Any, field: str) -> list[Any]:
    """A field of an array of structures."""
    if field not in (annotations.dtype.names or ()):
        raise BadRequest(f"{path}: its annotations have no field {field}; is it the right file?")
    return list(annotations[field])


def integers(path: Path, annotations: Any, field: str) -> NDArray[np.int64]:
    """A field of whole numbers, (N,)."""
    return _whole(path, f"field {field}", column(path, annotations, field))


def _whole(path: Path, what: str, values: Any) -> NDArray[np.int64]:
    """As int64: subtracting in their own unsigned type would wrap around."""
    try:
        return np.array([int(value) for value in values], dtype=np.int64)
    except (TypeError, ValueError):
        raise BadRequest(f"{path}: {what} holds something else than numbers") from None
