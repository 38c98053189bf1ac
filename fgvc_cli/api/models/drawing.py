"""Pictures of why, of many images, as files in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from fgvc_cli.api.place import RunLike, place_of
from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.spec.flags import checked_flags
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.viz.draw import Drawn

_Path: TypeAlias = str | os.PathLike[str]


class DrawFlags(TypedDict, total=False):
    """The flags of `fgvc viz KIND`, which says what they are; None: not given."""

    dataset: str | None
    split: str | None
    sample: int | None
    only: str | None
    truth: bool
    alpha: float
    dpi: int
    class_name: str | None
    against: str | None
    gallery: bool
    out: _Path | None
    force: bool
    device: str | None
    batch_size: int | None
    data_dir: _Path | None
    name: str | None
    unknown_classes: str
    follow_links: bool | None


def draw_of(
    source: Path,
    kind: str,
    images: _Path | Iterable[_Path],
    flags: Mapping[str, Any],
    *,
    compare: RunLike | None,
    progress: bool,
) -> Drawn:
    """See `Model.draw`; `source` is the run's folder or the model's file."""
    words = [images] if isinstance(images, str | os.PathLike) else images
    pair = None if compare is None else (source, place_of(compare))
    alone = source if pair is None else None
    return draw(alone, kind, [os.fspath(word) for word in words], flags, compare=pair, progress=progress)


def draw(
    source: Path | None,
    kind: str,
    images: Sequence[str],
    flags: Mapping[str, Any],
    *,
    lines: Iterable[str] = (),
    compare: tuple[Path, Path] | None = None,
    progress: bool = True,
) -> Drawn:
    """As `fgvc viz KIND`.

    Args:
        source: a run's folder or a `model.safetensors`; None, without `compare`: the newest run with the evidence.
        kind: of picture, or all.
        images: files, folders, patterns, or - for `lines`.
        flags: those of `DrawFlags`.
        lines: a list of images.
        compare: two runs, beside each other.
        progress: show notes and progress on stderr.
    """
    given = checked_flags(flags, DrawFlags.__annotations__, "draw")
    with quick_imports():
        from fgvc_cli.inference.request import EvalRequest
        from fgvc_cli.viz.draw import VizRequest, check_kind, draw_pictures
        from fgvc_cli.viz.scene import Options
        from fgvc_cli.viz.selection import Selection

    check_kind(kind)
    root = None if given.get("data_dir") is None else expanded(given["data_dir"])
    words, name, split = tuple(images), given.get("name"), given.get("split")
    chosen = {key: given.get(key) for key in ("dataset", "sample", "only")}
    linked, new = bool(given.get("follow_links")), root is not None or name is not None
    unknown = given.get("unknown_classes", "error")
    device, batch = given.get("device"), given.get("batch_size")
    request = VizRequest(
        kind,
        Selection(words, lines, split=split, follow_links=linked, labelled=new, **chosen),
        source,
        compare,
        None if given.get("out") is None else expanded(given["out"]),
        bool(given.get("gallery")),
        bool(given.get("force")),
        given.get("class_name"),
        given.get("against"),
        Options(given.get("alpha", 0.6), given.get("dpi", 150), bool(given.get("truth"))),
        EvalRequest(split, device, batch_size=batch, root=root, name=name, unknown_classes=unknown),
    )
    return draw_pictures(request, Console(stderr=True, quiet=not progress))
