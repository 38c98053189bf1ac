"""A class learnt, or forgotten, without training: a run's model gets a new version, and the old one stays."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from fgvc_cli.data.alike import Alike
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import make_folder, write_atomically, write_json
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.inference.trained import Trained, load_trained
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.methods.base import Enrolling, Method
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import load_model, save_model
from fgvc_cli.runs.folder import RunFolder

Change = Callable[[dict[str, Any]], dict[str, Any]]  # of the metadata

_VERSION = re.compile(r"([0-9]{4,9})\.safetensors")


def enroll(run: RunFolder, name: str, pictures: Sequence[Picture], reporter: Reporter) -> int:
    """Teach a run's model a class, or more images of a class that it has.

    Args:
        run: of a method that can enroll.
        name: the class; a class of that name, whatever its capitals, gets the images.
        pictures: its images.
        reporter: shows the progress.

    Returns:
        The number of classes then.

    Raises:
        BadRequest: the method cannot, or the name is no class name.
        ImageError: an image cannot be read.
    """
    _must_be_name(name)
    trained = load_trained(run.model_file)
    known = Alike(trained.classes).find(name)
    label = len(trained.classes) if known is None else trained.classes.index(known)
    spec = trained.spec
    learns = _enrolling(trained)
    embeddings = Embedder.of(trained.method, spec, prepare_device(spec.train)).embed(pictures, reporter)
    trained.method.cpu()
    learns.enroll(embeddings, label)
    classes = trained.classes if known is not None else (*trained.classes, name)
    _save(run, trained.method, classes, lambda about: _noted(about, "enrolled", "removed", known or name))
    return len(classes)


def remove(run: RunFolder, name: str) -> int:
    """Let a run's model forget a class. Returns the number of classes then.

    Raises:
        BadRequest: the method cannot, there is no such class, or only two classes are left.
    """
    trained = load_trained(run.model_file)
    alike = Alike(trained.classes)
    known = alike.find(name)
    if known is None:
        raise BadRequest(f"{run.path} has no class {name!r}{alike.hint(name)}")
    if len(trained.classes) <= 2:
        raise BadRequest(f"{run.path} has {len(trained.classes)} classes: with fewer there is nothing to decide")
    _enrolling(trained).remove(trained.classes.index(known))
    classes = tuple(one for one in trained.classes if one != known)
    _save(run, trained.method, classes, lambda about: _noted(about, "removed", "enrolled", known))
    return len(classes)


def _must_be_name(name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name.encode("utf-8", "replace")) > 255:
        raise BadRequest(f"--class {name!r}: a class needs a name of at most 255 printable characters")


def _enrolling(trained: Trained) -> Enrolling:
    learns = trained.method.enrolling
    if learns is None:
        raise BadRequest(
            f"a model of method {trained.spec.method.name} with these settings learns a class by training only: enroll "
            "needs a run of --method probe with --set method.head=prototype or method.head=knn"
        )
    return learns


def _noted(about: dict[str, Any], key: str, other: str, name: str) -> dict[str, Any]:
    """The metadata with the class under `key`; a class that was under `other` is as it was trained again."""
    before = [one for one in about.get(other, []) if one != name]
    return about | {key: [*about.get(key, []), name], other: before}


def _save(run: RunFolder, method: Method, classes: tuple[str, ...], change: Change) -> None:
    """Keep the present model as a numbered version, then replace it: at any instant there is a whole one."""
    _, about = load_model(run.model_file)
    with run.locked():
        make_folder(run.versions)
        numbers = [int(found[1]) for path in run.versions.iterdir() if (found := _VERSION.fullmatch(path.name))]
        old = run.versions / f"{max(numbers, default=0) + 1:04d}.safetensors"
        write_atomically(old, lambda temporary: shutil.copyfile(run.model_file, temporary))
        save_model(run.model_file, method.state_dict(), change(about) | {"classes": list(classes)})
        write_json(run.path / "classes.json", list(classes))
