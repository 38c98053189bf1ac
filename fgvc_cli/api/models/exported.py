"""A model that `fgvc export` wrote as ONNX, computed without PyTorch, which nothing here imports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

import numpy as np

from fgvc_cli.api.inputs import OneImage, is_one, pictures_of, several
from fgvc_cli.api.models.base import Asked, Model, quiet, request_of
from fgvc_cli.api.models.writing import Ready, tell
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.exported import Exported
from fgvc_cli.predict.answers import Answer, Failed
from fgvc_cli.predict.asked import PredictRequest, answers_of_export, boxes_of_export, layout_of
from fgvc_cli.progress import Reporter

if TYPE_CHECKING:
    from fgvc_cli.api.models.base import Vectors


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

    @property
    def folder(self) -> Path:
        """In which the model lies."""
        return self.opened.file.parent

    @property
    def method(self) -> str:
        """Of the run that was exported."""
        return self.opened.spec.method.name

    def stream(self, images: Iterable[OneImage], top: int = 5, **asked: Unpack[Asked]) -> Iterator[Answer | Failed]:
        """The answer to each image, in order, as batches are computed."""
        answer = answers_of_export(self.opened, request_of(top, asked), quiet())
        return (one for batch in answer(pictures_of(several(images))) for one in batch)

    def ready(self, request: PredictRequest, reporter: Reporter) -> Ready:
        """What answers a request."""
        model = self.opened
        layout = layout_of(request, len(model.classes), boxes_of_export(model, request))
        about = f"{model.name}: {self.method}, {len(model.classes)} classes, exported, {model.precision}, on cpu"
        tell(about, model.temperature, request, reporter)
        return Ready(model.file, model.classes, model.precision, layout, answers_of_export(model, request, reporter))

    def embed(self, images: Any, *, branches: bool = False, progress: bool = False) -> Any:
        """What the classifier reads, if the file was exported with --evidence; nothing is kept."""
        if branches:
            raise self._needs_run("for the vectors of its branches")
        found = [batch.embedding for batch in self.opened.answer(pictures_of(images), evidence=True)]
        if any(one is None for one in found):
            raise BadRequest(f"{self.name} gives no embedding: export the run with --evidence, or load the run")
        vectors: Vectors = np.concatenate([one for one in found if one is not None])
        return vectors[0] if is_one(images) else vectors

    def save_embeddings(self, *images: Any, **asked: Any) -> NoReturn:
        """BadRequest: vectors are kept of the run's weights."""
        raise self._needs_run("to have vectors written")

    def similar(self, *images: Any, **asked: Any) -> NoReturn:
        """BadRequest: the images to compare with are the run's."""
        raise self._needs_run("to compare images")

    def suggest(self, *images: Any, **asked: Any) -> NoReturn:
        """BadRequest: the embeddings to spread by are the run's."""
        raise self._needs_run("to have images suggested")

    def draw(self, *images: Any, **asked: Any) -> NoReturn:
        """BadRequest: pictures are drawn of the network."""
        raise self._needs_run("for pictures of why")

    def explain(self, *images: Any, **asked: Any) -> NoReturn:
        """BadRequest: pictures are drawn of the network."""
        raise self._needs_run("for pictures of why")

    def export(self, *out: Any, **asked: Any) -> NoReturn:
        """BadRequest: it is exported."""
        raise self._needs_run("to export it in another way")

    def serve(self, **asked: Any) -> NoReturn:
        """BadRequest: the page shows what the run knows."""
        raise self._needs_run("to serve it")

    def _needs_run(self, why: str) -> BadRequest:
        return BadRequest(f"{self.name} is an exported file: load the run {why}")
