"""Send a run's model to the hub, with a card that says what it is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import make_parent, write_folder_atomically
from fgvc_cli.hub.client import send
from fgvc_cli.hub.names import hub_name
from fgvc_cli.inference.look import open_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.share.card import write_card
from fgvc_cli.share.contents import PICTURE, check_folder
from fgvc_cli.share.pictures import draw_why, free_pictures, named_pictures
from fgvc_cli.share.staging import finished, stage
from fgvc_cli.terminal import Console


@dataclass(frozen=True)
class PushRequest:
    """What is sent where."""

    name: str  # OWNER/NAME
    private: bool = False  # the repository, if it is made now
    pictures: Sequence[Path] = ()  # images whose explanation is in the card
    licence: str | None = None  # of the model, by the hub's identifier
    out: Path | None = None  # write the files into this new folder; nothing is sent


def push(run: RunFolder, request: PushRequest, console: Console) -> str:
    """Send what prediction needs of a finished run, and a model card.

    Args:
        run: the run.
        request: what is sent where.
        console: shows notes.

    Returns:
        The repository's address, or with `out` the folder.

    Raises:
        BadRequest: the name is none, the run is not finished, or the hub does not let this user write there.
        FgvcError: a file cannot be written, or the hub failed.
    """
    name = hub_name(request.name)
    if name.revision is not None:
        raise BadRequest(f"{request.name}: leave @{name.revision} out: a model is sent to the main branch")
    if request.out is not None and request.out.exists():
        raise BadRequest(f"--out {request.out} exists: give a new folder")
    result = finished(run)

    def fill(folder: Path) -> None:
        stage(run, result, folder)
        check_folder(folder, str(run.path))
        drawn = _draw(run, request, folder / PICTURE, console)
        write_card(folder, name, drawn, request.licence)

    if request.out is not None:
        make_parent(request.out)
        write_folder_atomically(request.out, fill)
        return str(request.out)
    with tempfile.TemporaryDirectory(prefix="fgvc-push-") as temporary:
        fill(Path(temporary))
        size = sum(file.stat().st_size for file in Path(temporary).rglob("*") if file.is_file())
        console.print(f"sending {size / 1e6:.1f} MB to {name.repository}")
        return send(name.repository, Path(temporary), f"{run.name}, by fgvc", private=request.private)


def _draw(run: RunFolder, request: PushRequest, file: Path, console: Console) -> int:
    """Draw the pictures of why. Returns their number."""
    model = open_model(run.path)
    pictures = named_pictures(request.pictures) if request.pictures else free_pictures(model, console)
    if not pictures:
        console.note(
            "the card has no picture of why: with --picture IMAGE, name some that you may publish, and push again"
        )
        return 0
    return draw_why(model, pictures, file, console)
