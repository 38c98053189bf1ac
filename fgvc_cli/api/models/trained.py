"""A model of a run or a `model.safetensors`, computed by PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

from fgvc_cli.api.inputs import OneImage, is_one, one_picture, pictures_of, several
from fgvc_cli.api.models.base import Asked, Model, quiet
from fgvc_cli.api.models.explanation import Explanation
from fgvc_cli.api.run import Run
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.features.gallery import Neighbour, compare
from fgvc_cli.inference.look import Model as Opened
from fgvc_cli.predict.answers import Answer, Failed
from fgvc_cli.predict.asked import PredictRequest, answers_of_run
from fgvc_cli.predict.suggestions import Suggestion, suggest
from fgvc_cli.spec.flags import checked_flags
from fgvc_cli.viz.draw import explain, kinds_for
from fgvc_cli.viz.scene import Options

if TYPE_CHECKING:
    from fgvc_cli.api.models.base import Vectors


@dataclass(frozen=True)
class TrainedModel(Model):
    """See `Model`."""

    opened: Opened

    @property
    def name(self) -> str:
        """Of the run, or of the file."""
        return self.opened.name

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
        return tuple(kinds_for(self.opened))

    @property
    def run(self) -> Run | None:
        """The run whose folder the model lies in, if it lies in one."""
        return None if self.opened.run is None else Run(self.opened.run.path)

    def stream(self, images: Iterable[OneImage], top: int = 5, **asked: Unpack[Asked]) -> Iterator[Answer | Failed]:
        """The answer to each image, in order, as batches are computed."""
        wanted = {"boxes": None, **checked_flags(asked, Asked.__annotations__, "predict")}
        answers = answers_of_run(self.opened, PredictRequest(top=top, **wanted), quiet())(pictures_of(several(images)))
        return (answer for batch in answers for answer in batch)

    def embed(self, images: OneImage | Iterable[OneImage]) -> Vectors:
        """What the classifier reads: (D,) float32 of one image, (N, D) of several."""
        pictures = pictures_of(images)
        found: Vectors = self._embedder.vectors(pictures, quiet()).numpy()
        return found[0] if is_one(images) else found

    @cached_property
    def _embedder(self) -> Embedder:
        return Embedder.of_model(self.opened)

    def similar(
        self, images: OneImage | Iterable[OneImage], among: str = "train", count: int = 5
    ) -> list[list[Neighbour]]:
        """For each image the most similar ones, nearest first."""
        return compare(self.opened, pictures_of(images), among, count, quiet())

    def suggest(self, images: Iterable[OneImage], count: int = 100) -> list[Suggestion]:
        """Which unlabelled images to label next, the most useful first."""
        pictures = pictures_of(images)
        return suggest(self.opened, pictures, count, quiet()) if pictures else []

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
        picture = one_picture(image)
        options = Options(alpha, dpi)
        drawn, sheet, facts = explain(self.opened, picture, kind, label=class_name, against=against, options=options)
        return Explanation(drawn, facts, sheet)
