"""`fgvc viz`: images in, PNG files and a manifest out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fgvc_cli.data.images.read import ImageError
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.inference.find import Wanted, evidence_of, methods_with, newest_model
from fgvc_cli.inference.look import Model, look, open_model
from fgvc_cli.inference.new_photos import pictures_folder
from fgvc_cli.inference.pictures import OnBad, Picture
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.methods.base import Evidence
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.viz.colours import DARK, GREY, RIGHT, WRONG
from fgvc_cli.viz.kinds.table import ALL, KINDS, kinds_of
from fgvc_cli.viz.manifest import PAGE, Manifest
from fgvc_cli.viz.pixels import opencv
from fgvc_cli.viz.scene import Looked, Options, Scene
from fgvc_cli.viz.selection import Chosen, Selection, choose, class_number, file_names
from fgvc_cli.viz.sheet import PANEL, Row, Sheet, Strip, Words

GALLERY_WIDTH = 11.0  # inches
PAGE_STRIPS, HIGHEST = 48, 16000  # most images on a gallery sheet, and its greatest height in pixels
_FIRST = "cam"  # the kind that is drawn unless another is asked for
CHUNK = 32  # images that one model processes before the next model does


@dataclass(frozen=True)
class VizRequest:
    """The user's request."""

    kind: str  # a name of KINDS, or `all`
    selection: Selection
    run: Path | None = None
    compare: tuple[Path, Path] | None = None
    out: Path | None = None
    gallery: bool = False
    force: bool = False
    label: str | None = None
    against: str | None = None
    options: Options = field(default_factory=Options)
    settings: EvalRequest = field(default_factory=EvalRequest)

    def check(self) -> None:
        """BadRequest where a value is out of range or flags contradict each other."""
        self.selection.check()
        if self.run is not None and self.compare is not None:
            raise BadRequest("give either --run or --compare, not both")
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise BadRequest(f"--out {self.out} is a file: name a folder")
        if not 0 <= self.options.alpha <= 1:
            raise BadRequest("--alpha: give a number from 0 (the image alone) to 1 (the map alone)")
        if not 40 <= self.options.dpi <= 600:
            raise BadRequest("--dpi: give a number from 40 to 600")
        if self.label is not None and self.kind != ALL and not KINDS[self.kind].of_a_class:
            raise BadRequest(f"--class: the picture of {self.kind} does not depend on a class")
        if self.options.truth and not self.selection.of_split:
            raise BadRequest("--truth needs a split with true boxes: give --dataset and --split")


@dataclass(frozen=True)
class _Painter:
    """A model, the kinds to draw and the options."""

    model: Model
    kinds: tuple[str, ...]
    options: Options  # label and against are class numbers of this model
    gradients: bool

    def paint(self, pictures: Sequence[Picture], on_bad: OnBad | None) -> Iterator[tuple[Picture, list[Strip]]]:
        """Each image with one strip per kind. Images that cannot be read are skipped, or raise without `on_bad`."""
        found = look(self.model, pictures, evidence=True, gradients=self.gradients, originals=True, on_bad=on_bad)
        for seen in found:
            looked = Looked(self.model, seen, self.options)
            for position, picture in enumerate(seen.pictures):
                yield picture, [self._strip(looked, position, name) for name in self.kinds]

    def _strip(self, looked: Looked, position: int, name: str) -> Strip:
        kind = KINDS[name]
        scene = Scene(looked, position, max(24, round(PANEL * kind.scale * self.options.dpi)))
        strip = kind.draw(scene)
        about, first, second = describe(scene)
        return replace(strip, heading=first, below=second, facts=about | strip.facts)


def describe(scene: Scene) -> tuple[dict[str, Any], tuple[Words, ...], tuple[Words, ...]]:
    """The prediction for an image: for the manifest, for the heading and for the line below it."""
    shares = scene.looked.seen.probabilities[scene.position]
    guess = int(shares.argmax())
    classes, picture = scene.looked.model.classes, scene.picture
    about: dict[str, Any] = {"image": str(picture.file), "predicted": classes[guess]}
    about["probability"] = round(float(shares[guess]), 4)
    first = [Words(classes[guess], DARK, bold=True)]
    second = [Words(f"p = {float(shares[guess]):.2f}  ")]
    if picture.label is not None:
        right = guess == picture.label
        about |= {"true": classes[picture.label], "right": right}
        colour = RIGHT if right else WRONG
        first.insert(0, Words("✓ " if right else "✗ ", colour, bold=True))
        second.append(Words("right  " if right else f"wrong, true: {classes[picture.label]}  ", colour))
    second.append(Words(picture.name.rpartition("/")[2] or picture.name, GREY))
    return about, tuple(first), tuple(second)


@dataclass(frozen=True)
class Drawn:
    """The result of `draw_pictures`."""

    folders: dict[Path, int]  # files written to each, without manifest.json
    asked: int
    bad: tuple[str, ...]  # images that could not be read, each with the reason

    def must_be_whole(self) -> None:
        """FgvcError if some images could not be read."""
        if self.bad:
            rest = "the others are drawn" if len(self.bad) < self.asked else "nothing is drawn"
            raise FgvcError(f"{len(self.bad)} of {self.asked} images could not be read; {rest}")


def check_kind(kind: str) -> None:
    """BadRequest if there is no such kind of picture."""
    if kind != ALL and kind not in KINDS:
        raise BadRequest(f"there is no kind {kind!r}: choose {', '.join(KINDS)} or {ALL}")


def draw_pictures(request: VizRequest, console: Console) -> Drawn:
    """Draw what is requested. Images that cannot be read are reported and skipped.

    Raises:
        BadRequest: before anything is drawn: no run, no such evidence, no image, or a file that already exists.
    """
    request.check()
    opencv()
    painters = _painters(request, console)
    bad: dict[Path, str] = {}

    def on_bad(picture: Picture, error: ImageError) -> None:
        if picture.file not in bad:
            bad[picture.file] = str(error)
            console.print(f"skipped: {error}")

    chosen = choose(painters[0].model, request.selection, console, on_bad)
    pictures = chosen.pictures
    if request.options.truth and all(picture.box is None for picture in pictures):
        raise BadRequest("--truth: this dataset has no true boxes")
    names = file_names(pictures, chosen.of.name if chosen.of else None)
    works = [_open_work(request, _folder(request, painters, kind, chosen), kind, names) for kind in painters[0].kinds]
    _draw_all(painters, dict(zip([p.file for p in pictures], names, strict=True)), pictures, works, console, on_bad)
    folders = {work.manifest.folder: work.written for work in works}
    return Drawn(folders, len(pictures), tuple(bad.values()))


def _painters(request: VizRequest, console: Console) -> list[_Painter]:
    """The models, each with the kinds for which all models have evidence."""
    kind = request.kind
    wanted, needs = (_anything, "evidence") if kind == ALL else (KINDS[kind].wanted, KINDS[kind].needs)
    paths = list(request.compare or ([request.run] if request.run else []))
    if not paths:
        paths = [newest_model(wanted, needs)]
        console.print(f"newest run with {needs}: {paths[0]}")
    models = [open_model(path, request.settings) for path in paths]
    evidence = [evidence_of(model.spec, len(model.classes)) for model in models]
    for model, one in zip(models, evidence, strict=True):
        if not wanted(one):
            raise BadRequest(_lacks(model, wanted, needs))
    kinds = [name for name in KINDS if all(KINDS[name].wanted(one) for one in evidence)] if kind == ALL else [kind]
    about = (request.label, request.against, request.options)
    return [_painter(model, one, tuple(kinds), *about) for model, one in zip(models, evidence, strict=True)]


def _anything(evidence: Evidence) -> bool:
    return bool(kinds_of(evidence))


def _lacks(model: Model, wanted: Wanted, needs: str) -> str:
    others = ", ".join(methods_with(wanted))
    return f"{model.name} (method {model.spec.method.name}) has no {needs}; methods that have them: {others}"


def _painter(
    model: Model, evidence: Evidence, kinds: tuple[str, ...], name: str | None, rival: str | None, options: Options
) -> _Painter:
    label = None if name is None else class_number(name, model.classes, "--class")
    against = None if rival is None else class_number(rival, model.classes, "--against")
    if label is not None and label == against:
        raise BadRequest(f"--class and --against are both {model.classes[label]}: give two classes")
    if "versus" in kinds and len(model.classes) < 2:
        raise BadRequest("this model has only one class; versus needs two")
    nonlinear = any(head.weight is None for head in evidence.heads.values())
    gradients = nonlinear and any(KINDS[name].heats for name in kinds)
    return _Painter(model, kinds, replace(options, label=label, against=against), gradients)


def kinds_for(model: Model) -> list[str]:
    """Names of the kinds of pictures that a model has evidence for."""
    return kinds_of(evidence_of(model.spec, len(model.classes)))


def explain(
    model: Model,
    picture: Picture,
    kind: str | None = None,
    *,
    label: str | None = None,
    against: str | None = None,
    options: Options | None = None,
) -> tuple[str, Sheet, dict[str, Any]]:
    """One picture of why, which is not written.

    Args:
        model: the trained model.
        picture: the image.
        kind: a name of KINDS; None: the class activation map, or what else the method has evidence for.
        label: name of the class to explain; None: the predicted one.
        against: name of the class to compare it with; None: the most likely other one.
        options: how it is drawn.

    Returns:
        The kind, the sheet, and what the manifest says of the picture.

    Raises:
        BadRequest: there is no such kind or class, or no evidence for it.
        ImageError: the image cannot be read.
    """
    opencv()
    evidence, options = evidence_of(model.spec, len(model.classes)), options or Options()
    there = kinds_of(evidence)
    if kind is None and there:
        kind = _FIRST if _FIRST in there else there[0]
    if kind is None:
        raise BadRequest(_lacks(model, _anything, "evidence"))
    if kind not in KINDS:
        raise BadRequest(f"there is no picture called {kind}: choose one of {', '.join(there)}")
    request = VizRequest(kind, Selection(("-",)), label=label, options=options)
    request.check()
    if kind not in there:
        raise BadRequest(_lacks(model, KINDS[kind].wanted, KINDS[kind].needs))
    painter = _painter(model, evidence, (kind,), label, against, options)
    ((_, (strip,)),) = painter.paint([picture], None)
    return kind, Sheet([strip], options.dpi), strip.facts


@dataclass
class _Work:
    """The pictures of one kind and the folder that they are written to."""

    manifest: Manifest
    gallery: bool
    dpi: int
    waiting: list[Strip] = field(default_factory=list)
    written: int = 0

    def add(self, name: str, strip: Strip) -> None:
        """Write a picture, or collect it for the next gallery sheet."""
        if not self.gallery:
            Sheet([strip], self.dpi).write(self.manifest.folder / name)
            self.manifest.add(name, strip.facts)
            self.written += 1
            return
        self.waiting.append(strip)
        if len(self.waiting) >= PAGE_STRIPS or self._sheet().size[0] > HIGHEST:
            self.flush()

    def flush(self) -> None:
        """Write the collected pictures as one sheet."""
        if self.waiting:
            self.written += 1
            name = f"{PAGE}{self.written:03d}.png"
            self._sheet().write(self.manifest.folder / name)
            self.manifest.add(name, {"pictures": [strip.facts for strip in self.waiting]})
            self.waiting = []

    def _sheet(self) -> Sheet:
        widest = max(Sheet([strip], self.dpi).size[1] for strip in self.waiting)
        return Sheet(self.waiting, self.dpi, int(GALLERY_WIDTH * self.dpi // widest))


def _open_work(request: VizRequest, folder: Path, kind: str, names: list[str]) -> _Work:
    """Open the kind's folder. BadRequest if a file would be overwritten without --force."""
    manifest = Manifest.of(folder, kind, force=request.force)
    if request.force and request.gallery:
        manifest.remove_pages()
    manifest.must_be_free(manifest.pages() if request.gallery else [] if request.force else names)
    return _Work(manifest, request.gallery, request.options.dpi)


def _folder(request: VizRequest, painters: Sequence[_Painter], kind: str, chosen: Chosen) -> Path:
    """--out, or viz/KIND in the run's folder (without a run: in the current one). `all` has a folder per kind.

    Pictures of the new photos of a name are in eval/NAME-viz/KIND.
    """
    if request.out is not None:
        return request.out / kind if request.kind == ALL else request.out
    first, *others = [painter.model for painter in painters]
    beside = "".join(f"-beside-{model.name}" for model in others)
    home = (first.run or RunFolder(Path())).path / "viz"
    return (pictures_folder(first.run, chosen.of) if first.run and chosen.of else home) / f"{kind}{beside}"


def _draw_all(
    painters: Sequence[_Painter],
    names: dict[Path, str],
    pictures: Sequence[Picture],
    works: Sequence[_Work],
    console: Console,
    on_bad: OnBad,
) -> None:
    reporter = Reporter(console)
    reporter.begin("drawing", len(pictures))
    try:
        for start in range(0, len(pictures), CHUNK):
            for picture, strips in _painted(painters, pictures[start : start + CHUNK], on_bad):
                for work, strip in zip(works, strips, strict=True):
                    work.add(names[picture.file], strip)
                reporter.advance(1)
                reporter.facts({})
        for work in works:
            work.flush()
    finally:
        reporter.end()
        for work in works:
            work.manifest.write()


def _painted(
    painters: Sequence[_Painter], pictures: Sequence[Picture], on_bad: OnBad
) -> Iterator[tuple[Picture, list[Strip]]]:
    """Each readable image with one strip per kind; a strip shows several models side by side."""
    if len(painters) == 1:
        yield from painters[0].paint(pictures, on_bad)
        return
    found = [{picture.file: strips for picture, strips in one.paint(pictures, on_bad)} for one in painters]
    for picture in pictures:
        if all(picture.file in strips for strips in found):
            each = zip(*(strips[picture.file] for strips in found), strict=True)
            yield picture, [beside([p.model.name for p in painters], strips, picture) for strips in each]


def beside(names: Sequence[str], strips: Sequence[Strip], picture: Picture) -> Strip:
    """The strips of several models for one image as one strip: side by side if each has one panel, else in rows."""
    said = [
        f"{name}: {strip.facts['predicted']} {strip.facts['probability']:.2f}" + _verdict(strip.facts)
        for name, strip in zip(names, strips, strict=True)
    ]
    if all(len(strip.rows) == 1 and len(strip.rows[0].panels) == 1 for strip in strips):
        panels = (replace(strip.rows[0].panels[0], title=text) for strip, text in zip(strips, said, strict=True))
        rows: tuple[Row, ...] = (Row(tuple(panels)),)
    else:
        rows = tuple(
            replace(row, label=text if number == 0 else row.label)
            for strip, text in zip(strips, said, strict=True)
            for number, row in enumerate(strip.rows)
        )
    true = strips[0].facts.get("true")
    words = (Words(str(true), DARK, bold=True), Words("  (true class)")) if true else ()
    keys = tuple(dict.fromkeys(key for strip in strips for key in strip.keys))
    facts = {"image": str(picture.file), "runs": {name: s.facts for name, s in zip(names, strips, strict=True)}}
    return Strip(rows, words, (Words(picture.name.rpartition("/")[2] or picture.name, GREY),), keys, facts)


def _verdict(facts: dict[str, Any]) -> str:
    return "" if "right" not in facts else " ✓ right" if facts["right"] else " ✗ wrong"
