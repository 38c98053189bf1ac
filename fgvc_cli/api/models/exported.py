"""A model that `fgvc export` wrote as ONNX, computed without PyTorch, which nothing here imports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np

from fgvc_cli.api.inputs import OneImage, is_one, pictures_of, several
from fgvc_cli.api.models.base import Asked, Model, quiet
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.exported import Exported
from fgvc_cli.predict.answers import Answer, Failed
from fgvc_cli.predict.asked import PredictRequest
from fgvc_cli.predict.exported import answers_of_export
from fgvc_cli.spec.flags import checked_flags

if TYPE_CHECKING:
    from fgvc_cli.api.models.base import Vectors
    from fgvc_cli.api.models.explanation import Explanation
    from fgvc_cli.inference.features.gallery import Neighbour
    from fgvc_cli.predict.suggestions import Suggestion


@dataclass(frozen=True)
class ExportedModel(Model):
    """See `Model`. What needs the run is a BadRequest."""

    opened: Exported

    @property
    def name(self) -> str:
        """Of the file."""
        return self.opened.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.opened.classes

    @property
    def device(self) -> str:
        """Where it computes: the CPU."""
        return "cpu"

    @property
    def kinds(self) -> tuple[str, ...]:
        """None: `explain` needs the run."""
        return ()

    def stream(self, images: Iterable[OneImage], top: int = 5, **asked: Unpack[Asked]) -> Iterator[Answer | Failed]:
        """The answer to each image, in order, as batches are computed."""
        wanted = {"boxes": None, **checked_flags(asked, Asked.__annotations__, "predict")}
        answer = answers_of_export(self.opened, PredictRequest(top=top, **wanted), quiet())
        return (one for batch in answer(pictures_of(several(images))) for one in batch)

    def embed(self, images: OneImage | Iterable[OneImage]) -> Vectors:
        """What the classifier reads, if the file was exported with --evidence; nothing is kept."""
        found = [batch.embedding for batch in self.opened.answer(pictures_of(images), evidence=True)]
        if any(one is None for one in found):
            raise BadRequest(f"{self.name} gives no embedding: export the run with --evidence, or load the run")
        vectors: Vectors = np.concatenate([one for one in found if one is not None])
        return vectors[0] if is_one(images) else vectors

    def similar(
        self, images: OneImage | Iterable[OneImage], among: str = "train", count: int = 5
    ) -> list[list[Neighbour]]:
        """BadRequest: the images to compare with are the run's."""
        raise BadRequest(f"{self.name} is an exported file: load the run to compare images")

    def suggest(self, images: Iterable[OneImage], count: int = 100) -> list[Suggestion]:
        """BadRequest: the embeddings to spread by are the run's."""
        raise BadRequest(f"{self.name} is an exported file: load the run to have images suggested")

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
        """BadRequest: pictures are drawn of the network."""
        raise BadRequest(f"{self.name} is an exported file: load the run for pictures of why")
