"""Read variables of MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import hindrance, open_regular
from fgvc_cli.values import whole


def variable(path: Path, name: str) -> Any:
    """A variable of a .mat file as a one-dimensional array."""
    import scipy.io  # imported here, since only some datasets need it

    try:
        with open_regular(path) as stream:
            return np.atleast_1d(scipy.io.loadmat(stream, variable_names=[name], squeeze_me=True)[name])
    except KeyError:
        raise BadRequest(f"{path}: holds no {name}; is it the right file?") from None
    except Exception as error:  # on a damaged file scipy raises many types, from OSError to zlib.error
        if hindrance(error):
            raise BadRequest(f"{path}: cannot be read ({hindrance(error)})") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRequest(f"{path}: is not a readable .mat file ({reason}); get it again") from None


def texts(path: Path, name: str) -> list[str]:
    """A variable that holds strings."""
    return [str(value).strip() for value in variable(path, name)]


def numbers(path: Path, name: str) -> NDArray[np.int64]:
    """A variable that holds integers, (N,)."""
    return _as_int64(path, name, variable(path, name))


def column(path: Path, annotations: Any, field: str) -> list[Any]:
    """A field of an array of structures."""
    if field not in (annotations.dtype.names or ()):
        raise BadRequest(f"{path}: its annotations have no field {field}; is it the right file?")
    return list(annotations[field])


def integers(path: Path, annotations: Any, field: str) -> NDArray[np.int64]:
    """A field of integers, (N,)."""
    return _as_int64(path, f"field {field}", column(path, annotations, field))


def _as_int64(path: Path, what: str, values: Any) -> NDArray[np.int64]:
    """The values as int64; a subtraction in their unsigned type could wrap around."""
    try:
        return np.array([whole(value) for value in values], dtype=np.int64)
    except ValueError as error:
        raise BadRequest(f"{path}: {what} {error}") from None
