"""A trained model in a program. Nothing here imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from fgvc_cli.api.inputs import OneImage, is_one, several
from fgvc_cli.errors import FgvcError
from fgvc_cli.progress import Reporter
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fgvc_cli.api.models.explanation import Explanation
    from fgvc_cli.api.run import Run
    from fgvc_cli.inference.features.gallery import Neighbour
    from fgvc_cli.predict.answers import Answer, Failed
    from fgvc_cli.predict.suggestions import Suggestion

    Vectors = NDArray[np.float32]


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
    def embed(self, images: OneImage | Iterable[OneImage]) -> Vectors:
        """What the classifier reads: (D,) float32 of one image, (N, D) of several.

        Vectors of files are computed once and kept in fgvc's cache folder, as `fgvc embed` does.
        """

    @abstractmethod
    def similar(
        self, images: OneImage | Iterable[OneImage], among: str = "train", count: int = 5
    ) -> list[list[Neighbour]]:
        """For each image the `count` most similar ones of a split of the run's data, or of a folder, nearest first."""

    @abstractmethod
    def suggest(self, images: Iterable[OneImage], count: int = 100) -> list[Suggestion]:
        """Which unlabelled images to label next, the most useful first, as `fgvc suggest` finds them."""

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


def reporter_of(progress: bool) -> Reporter:
    """A reporter that shows notes and progress on stderr, or nothing."""
    return Reporter(Console(stderr=True, quiet=not progress))


def quiet() -> Reporter:
    """A reporter that shows nothing."""
    return reporter_of(False)
