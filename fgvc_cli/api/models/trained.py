"""A model of a run or a `model.safetensors`, computed by PyTorch. What only some methods need is imported there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from fgvc_cli.api.inputs import OneImage, is_one, one_picture, pictures_of, several
from fgvc_cli.api.models.base import Asked, Model, OnePath, quiet, reporter_of, request_of
from fgvc_cli.api.models.drawing import DrawFlags, draw_of
from fgvc_cli.api.models.explanation import Explanation
from fgvc_cli.api.models.exporting import export
from fgvc_cli.api.models.serving import ServeFlags, serve
from fgvc_cli.api.models.writing import MINUTES, Embedded, Ready, tell
from fgvc_cli.api.run import Run
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.inference.look import Model as Opened
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.machine.distributed import joined, launched
from fgvc_cli.predict.answers import Answer, Failed
from fgvc_cli.predict.asked import PredictRequest, answers_of_run, boxes_of_run, layout_of
from fgvc_cli.progress import Reporter

if TYPE_CHECKING:
    from fgvc_cli.api.models.base import Vectors
    from fgvc_cli.export.export import Written
    from fgvc_cli.inference.features.embedder import Embedder
    from fgvc_cli.inference.features.gallery import Neighbour
    from fgvc_cli.predict.suggestions import Suggestion
    from fgvc_cli.viz.draw import Drawn


@dataclass(frozen=True)
class TrainedModel(Model):
    """See `Model`."""

    opened: Opened

    @property
    def name(self) -> str:
        """Of the run, or of the file."""
        return self.opened.name

    @property
    def folder(self) -> Path:
        """In which the model lies."""
        return self.opened.file.parent

    @property
    def method(self) -> str:
        """Of the run."""
        return self.opened.spec.method.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.opened.classes

    @property
    def device(self) -> str:
        """Where it computes."""
        return str(self.opened.device)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of pictures that `explain` can draw."""
        from fgvc_cli.viz.draw import kinds_for

        return tuple(kinds_for(self.opened))

    @property
    def run(self) -> Run | None:
        """The run whose folder the model lies in, if it lies in one."""
        return None if self.opened.run is None else Run(self.opened.run.path)

    def stream(self, images: Iterable[OneImage], top: int = 5, **asked: Unpack[Asked]) -> Iterator[Answer | Failed]:
        """The answer to each image, in order, as batches are computed."""
        answers = answers_of_run(self.opened, request_of(top, asked), quiet())(pictures_of(several(images)))
        return (answer for batch in answers for answer in batch)

    def ready(self, request: PredictRequest, reporter: Reporter) -> Ready:
        """What answers a request."""
        model = self.opened
        layout = layout_of(request, len(model.classes), boxes_of_run(model, request))
        about = f"{model.name}: {self.method}, {len(model.classes)} classes, on {model.device}"
        tell(about, model.trained.temperature, request, reporter)
        answer = answers_of_run(model, request, reporter)
        return Ready(model.file, model.classes, model.spec.train.precision, layout, answer)

    @overload
    def embed(
        self, images: OneImage | Iterable[OneImage], *, branches: Literal[False] = False, progress: bool = False
    ) -> Vectors: ...
    @overload
    def embed(
        self, images: OneImage | Iterable[OneImage], *, branches: Literal[True], progress: bool = False
    ) -> dict[str, Vectors]: ...
    def embed(
        self, images: OneImage | Iterable[OneImage], *, branches: bool = False, progress: bool = False
    ) -> Vectors | dict[str, Vectors]:
        """What the classifier reads: (D,) float32 of one image, (N, D) of several."""
        embedder = self._embedders[branches]
        rows: Vectors = embedder.vectors(pictures_of(images), reporter_of(progress)).numpy()
        found = rows[0] if is_one(images) else rows
        return {name: found[..., part] for name, part in embedder.layout.items()} if branches else found

    @cached_property
    def _embedders(self) -> dict[bool, Embedder]:
        """With and without branches."""
        from fgvc_cli.inference.features.embedder import Embedder

        plain = Embedder.of_model(self.opened)
        return {False: plain, True: replace(plain, branches=True)}

    def save_embeddings(
        self,
        out: OnePath,
        images: OneImage | Iterable[OneImage],
        *,
        branches: bool = False,
        progress: bool = True,
    ) -> Embedded:
        """Write the vectors of many images to a file."""
        from fgvc_cli.predict.embeddings import check_out, write_embeddings

        file, reporter = expanded(out), reporter_of(progress and launched().main)
        check_out(file)
        failed: list[str] = []

        def on_bad(picture: Picture, error: Exception) -> None:
            failed.append(f"{picture.name}: {str(error).removeprefix(f'{picture.file}: ')}")
            reporter.line(failed[-1])

        with joined(MINUTES):
            embedder = self._embedders[branches]
            count = write_embeddings(file, embedder, pictures_of(images), reporter, on_bad)
        widths = {name: part.stop - part.start for name, part in embedder.layout.items()}
        return Embedded(file, count, widths, tuple(failed))

    def similar(
        self,
        images: OneImage | Iterable[OneImage],
        among: OnePath = "train",
        count: int = 5,
        *,
        sheet: OnePath | None = None,
        dpi: int = 100,
        progress: bool = False,
    ) -> list[list[Neighbour]]:
        """For each image the most similar ones, nearest first."""
        from fgvc_cli.inference.features.gallery import compare

        _at_least_one(count)
        pictures = pictures_of(images)
        found = compare(self.opened, pictures, os.fspath(among), count, reporter_of(progress))
        if sheet is not None:
            from fgvc_cli.viz.neighbours import draw_neighbours

            draw_neighbours(expanded(sheet), self.opened, pictures, found, dpi)
        return found

    def suggest(
        self,
        images: Iterable[OneImage],
        count: int = 100,
        *,
        output: OnePath | None = None,
        sheet: OnePath | None = None,
        force: bool = False,
        skip_bad: bool = False,
        progress: bool = False,
    ) -> list[Suggestion]:
        """Which unlabelled images to label next, the most useful first."""
        from fgvc_cli.predict.suggestions import suggest, write_suggestions

        _at_least_one(count)
        file = None if output is None else expanded(output)
        if file is not None and file.exists() and not force:
            raise BadRequest(f"{file} exists: --force replaces it, -o names another file")
        pictures, reporter = pictures_of(images), reporter_of(progress)
        on_bad = (lambda _, error: reporter.line(str(error))) if skip_bad else None
        found = suggest(self.opened, pictures, count, reporter, on_bad) if pictures else []
        if sheet is not None:
            _draw(expanded(sheet), found, self.opened.spec.data.max_pixels)
        if file is not None:
            write_suggestions(file, found)
        return found

    def draw(
        self,
        kind: str,
        images: OnePath | Iterable[OnePath] = (),
        *,
        compare: OnePath | None = None,
        progress: bool = True,
        **flags: Unpack[DrawFlags],
    ) -> Drawn:
        """Write pictures of why of many images, or of a split, into a folder."""
        return draw_of(self.opened.file, kind, images, flags, compare=compare, progress=progress)

    def export(self, out: OnePath | None = None, *, progress: bool = True, **flags: Any) -> Written:
        """Write the model as one file that answers by itself."""
        return export(self.opened.file, out, flags, progress=progress)

    def serve(
        self,
        *,
        ready: Callable[[str], None] | None = None,
        stop: Event | None = None,
        progress: bool = True,
        **flags: Unpack[ServeFlags],
    ) -> Path | None:
        """Show the model as a page in the browser until Ctrl-C."""
        reporter = reporter_of(progress)
        return serve(lambda: self.opened, flags, ready or reporter.line, reporter, stop)

    def explain(
        self,
        image: OneImage,
        kind: str | None = None,
        *,
        class_name: str | None = None,
        against: str | None = None,
        alpha: float = 0.6,
        dpi: int = 150,
    ) -> Explanation:
        """A picture of why."""
        from fgvc_cli.viz.draw import explain
        from fgvc_cli.viz.scene import Options

        picture = one_picture(image)
        options = Options(alpha, dpi)
        drawn, sheet, facts = explain(self.opened, picture, kind, label=class_name, against=against, options=options)
        return Explanation(drawn, facts, sheet)


def _at_least_one(count: int) -> None:
    if count < 1:
        raise BadRequest(f"--count {count}: give at least 1")


def _draw(sheet: Path, found: Sequence[Suggestion], most_pixels: int) -> None:
    """Write a PNG of the images, each with the two likeliest classes."""
    from fgvc_cli.viz.photos import Photo, draw_photos

    words = [[f"{name} {share:.0%}" for name, share in one.likeliest] for one in found]
    photos = [Photo(one.picture.file, *two) for one, two in zip(found, words, strict=True)]
    draw_photos(sheet, photos, most_pixels)
