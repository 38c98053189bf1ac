"""A trained model in a program. Nothing here imports torch."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, overload

from fgvc_cli.api.inputs import OneImage, is_one, pictures_of, several
from fgvc_cli.api.models.drawing import DrawFlags
from fgvc_cli.api.models.serving import ServeFlags
from fgvc_cli.api.models.writing import Embedded, Ready, format_of, write
from fgvc_cli.errors import FgvcError
from fgvc_cli.files import expanded
from fgvc_cli.predict.asked import PredictRequest
from fgvc_cli.predict.unfinished import Counts
from fgvc_cli.predict.writing import check_output
from fgvc_cli.progress import Reporter
from fgvc_cli.spec.flags import checked_flags
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fgvc_cli.api.models.explanation import Explanation
    from fgvc_cli.api.run import Run
    from fgvc_cli.export.export import Written
    from fgvc_cli.inference.features.gallery import Neighbour
    from fgvc_cli.predict.answers import Answer, Failed
    from fgvc_cli.predict.suggestions import Suggestion
    from fgvc_cli.viz.draw import Drawn

    Vectors = NDArray[np.float32]


OnePath: TypeAlias = str | os.PathLike[str]


class Asked(TypedDict, total=False):
    """What predictions are asked for: the flags of `fgvc predict`."""

    boxes: bool | None  # the method's boxes; None (default): if it has any
    min_confidence: float  # an answer less likely than this (0..1) is unsure
    target_precision: float | None  # share of answers that shall be right; the others are unsure
    set_coverage: float | None  # sets of classes that hold the true one in this share of cases
    rollup: float | None  # answer with the most specific taxon of this probability
    taxonomy: Path | None  # CSV file of a tree of the classes
    unknown: bool  # tell images that seem to be of no known class
    neighbours: int  # name so many most similar training images


class Model(ABC):
    """A trained model, as `fgvc.load` gives it.

    An image is a path, a Pillow image, an array (H, W, 3) or a tensor (3, H, W), uint8 or floating point in 0..1, RGB.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the run, or of the file."""

    @property
    @abstractmethod
    def method(self) -> str:
        """Of the run."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""

    @property
    @abstractmethod
    def device(self) -> str:
        """Where it computes, such as cpu or cuda:0."""

    @property
    @abstractmethod
    def kinds(self) -> tuple[str, ...]:
        """The kinds of pictures that `explain` can draw."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """In which the model lies: the run's, or another."""

    @property
    def run(self) -> Run | None:
        """The run whose folder the model lies in, if it lies in one."""
        return None

    @abstractmethod
    def stream(self, images: Iterable[OneImage], top: int = 5, **asked: Unpack[Asked]) -> Iterator[Answer | Failed]:
        """The answer to each image, in order, as batches are computed; `Failed` for one that cannot be read.

        Raises:
            BadRequest: before the first image, if the model cannot give what is asked.
        """

    @overload  # a path's text could be a list of letters, for the type checker
    def predict(  # type: ignore[overload-overlap]
        self, images: OneImage, top: int = 5, **asked: Unpack[Asked]
    ) -> Answer: ...
    @overload
    def predict(self, images: Iterable[OneImage], top: int = 5, **asked: Unpack[Asked]) -> list[Answer]: ...
    def predict(self, images: Any, top: int = 5, **asked: Unpack[Asked]) -> Answer | list[Answer]:
        """The answer to one image, or a list of answers to several.

        Args:
            images: one image, or several: a list, or an array or tensor of four axes.
            top: number of most likely classes to name.
            asked: what else, see `Asked`; the flags of `fgvc predict`.

        Raises:
            BadRequest: the model cannot give what is asked, or an image is of no known kind.
            FgvcError: an image cannot be read. (`stream` goes on.)
        """
        found = list(self._whole([images] if is_one(images) else several(images), top, asked))
        return found[0] if is_one(images) else found

    def _whole(self, images: list[OneImage], top: int, asked: Asked) -> Iterator[Answer]:
        for one in self.stream(images, top, **asked):
            if hasattr(one, "reason"):
                raise FgvcError(f"{one.picture.name}: {one.reason}")
            yield one

    @abstractmethod
    def ready(self, request: PredictRequest, reporter: Reporter) -> Ready:
        """What answers a request, for answers that are written. BadRequest if the model cannot give what is asked."""

    def save_predictions(
        self,
        output: str | os.PathLike[str],
        images: OneImage | Iterable[OneImage],
        top: int = 5,
        *,
        format: str | None = None,
        progress: bool = True,
        **asked: Unpack[Asked],
    ) -> Counts:
        """Write the answers to many images to a file, as `fgvc predict --output` does; a repeated call goes on.

        Under torchrun the images are shared by all processes.

        Args:
            output: the file, complete or not there.
            images: those of `fgvc.images`, which finds those in tars too.
            top: number of most likely classes to name.
            format: table, json, csv or parquet; None: by the file's name.
            progress: show notes and progress on stderr.
            asked: what else, see `Asked`.

        Returns:
            How many were predicted, are unsure or unknown, and could not be read (`failed`).

        Raises:
            BadRequest: the model cannot give what is asked, or the file was begun for another request.
            FgvcError: the file cannot be written.
        """
        file, reporter = expanded(output), reporter_of(progress)
        kind = format_of(format, file)
        check_output(file, kind)
        request = request_of(top, asked)
        return write(self.ready(request, reporter), pictures_of(images), request, file, kind, reporter)

    @overload
    def embed(
        self, images: OneImage | Iterable[OneImage], *, branches: Literal[False] = False, progress: bool = False
    ) -> Vectors: ...
    @overload
    def embed(
        self, images: OneImage | Iterable[OneImage], *, branches: Literal[True], progress: bool = False
    ) -> dict[str, Vectors]: ...
    @abstractmethod
    def embed(
        self, images: OneImage | Iterable[OneImage], *, branches: bool = False, progress: bool = False
    ) -> Vectors | dict[str, Vectors]:
        """What the classifier reads: (D,) float32 of one image, (N, D) of several.

        Vectors of files are computed once and kept in fgvc's cache folder, as `fgvc embed` does.

        Args:
            images: one image, or several.
            branches: give by name the `embedding`, and what each branch's classifier reads.
            progress: show progress on stderr.
        """

    @abstractmethod
    def save_embeddings(
        self,
        out: str | os.PathLike[str],
        images: OneImage | Iterable[OneImage],
        *,
        branches: bool = False,
        progress: bool = True,
    ) -> Embedded:
        """Write the vectors of many images to NAME.npz, NAME.csv or NAME.parquet, as `fgvc embed` does.

        Images that cannot be read are left out. Under torchrun the images are shared by all processes.
        """

    @abstractmethod
    def similar(
        self,
        images: OneImage | Iterable[OneImage],
        among: str | os.PathLike[str] = "train",
        count: int = 5,
        *,
        sheet: str | os.PathLike[str] | None = None,
        dpi: int = 100,
        progress: bool = False,
    ) -> list[list[Neighbour]]:
        """For each image the `count` most similar ones of a split of the run's data, or of a folder, nearest first.

        Args:
            images: one image, or several.
            among: train, val, test or a folder.
            count: at least 1.
            sheet: also draw them beside the images, into this PNG file.
            dpi: pixels per inch of the sheet.
            progress: show notes and progress on stderr.
        """

    @abstractmethod
    def suggest(
        self,
        images: Iterable[OneImage],
        count: int = 100,
        *,
        output: str | os.PathLike[str] | None = None,
        sheet: str | os.PathLike[str] | None = None,
        force: bool = False,
        skip_bad: bool = False,
        progress: bool = False,
    ) -> list[Suggestion]:
        """Which unlabelled images to label next, the most useful first, as `fgvc suggest` finds them.

        Args:
            images: several.
            count: at least 1.
            output: also write the list to this CSV file.
            sheet: also draw them, into this PNG file.
            force: replace an existing list.
            skip_bad: leave out what cannot be read, which is told as a note, as the command does.
            progress: show notes and progress on stderr.
        """

    @abstractmethod
    def draw(
        self,
        kind: str,
        images: OnePath | Iterable[OnePath] = (),
        *,
        compare: OnePath | None = None,
        progress: bool = True,
        **flags: Unpack[DrawFlags],
    ) -> Drawn:
        """Write pictures of why of many images, or of a split, into a folder, as `fgvc viz KIND` does.

        Args:
            kind: one of `kinds`, or all of them: `all`.
            images: files, folders or patterns; none: those of the flags `split`, `dataset` or `data_dir`.
            compare: another run, to be drawn beside this one.
            progress: show notes and progress on stderr.
            flags: `split`, `sample`, `only`, `gallery`, `out`, `force`, …, see `DrawFlags`.

        Returns:
            `folders`: folder → files written to it; `bad`: images that could not be read.

        Raises:
            BadRequest: there is no such kind, image or class, or a file exists; nothing is drawn.
        """

    @abstractmethod
    def export(self, out: str | os.PathLike[str] | None = None, *, progress: bool = True, **flags: Any) -> Written:
        """As `Run.export`, also of a `model.safetensors` without its run."""

    @abstractmethod
    def serve(
        self,
        *,
        ready: Callable[[str], None] | None = None,
        stop: Event | None = None,
        progress: bool = True,
        **flags: Unpack[ServeFlags],
    ) -> Path | None:
        """Show the model as a page in the browser until Ctrl-C, as `fgvc serve` does.

        Args:
            ready: called with the page's address when the server answers; None: it is printed on stderr.
            stop: also ends the server, when it is set: in another thread than the main one Ctrl-C does not.
            progress: show notes on stderr.
            flags: those of `fgvc serve`: `host`, `port`, `neighbours`, `min_confidence`, …, see `ServeFlags`.

        Returns:
            The CSV file of what was corrected, if anything was.

        Raises:
            BadRequest: a flag is wrong, the address is in use, or a package is missing.
        """

    @abstractmethod
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
        """A picture of why, as `fgvc viz KIND` draws it.

        Args:
            image: one image.
            kind: one of `kinds`; None: the class activation map, or what else the method has.
            class_name: the class to explain; None: the predicted one.
            against: the class to compare it with (kind versus); None: the most likely other one.
            alpha: opacity of a heat map, 0..1.
            dpi: pixels per inch, 40..600.

        Raises:
            BadRequest: there is no such kind or class, or the method has no evidence for it.
            ImageError: the image cannot be read.
        """


def request_of(top: int, asked: Asked) -> PredictRequest:
    """What is asked of predictions. BadRequest for a flag that there is not, or a wrong value."""
    wanted = {"boxes": None, **checked_flags(asked, Asked.__annotations__, "predict")}
    return PredictRequest(top=top, **wanted)


def reporter_of(progress: bool) -> Reporter:
    """A reporter that shows notes and progress on stderr, or nothing."""
    return Reporter(Console(stderr=True, quiet=not progress))


def quiet() -> Reporter:
    """A reporter that shows nothing."""
    return reporter_of(False)
