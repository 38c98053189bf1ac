"""What the server does for its clients; the event loop's thread calls it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.report.embedded import thumbnail
from fgvc_cli.serve.corrections import Corrections
from fgvc_cli.serve.engine import Engine
from fgvc_cli.serve.explainer import Explainer
from fgvc_cli.serve.limits import Limits
from fgvc_cli.serve.problems import CONFLICT, LATE, NOT_FOUND, Problem
from fgvc_cli.serve.retrain import prepare
from fgvc_cli.serve.uploads import Held, Upload, Uploads, too_long
from fgvc_cli.serve.views import AnswerView, CorrectionView, ModelView, RetrainingView

Result = TypeVar("Result")
_SIDE = 360  # pixels of a thumbnail
_READERS = 2  # threads that read thumbnails and corrections


@dataclass
class Site:
    """One server's state."""

    explainer: Explainer
    engine: Engine
    uploads: Uploads
    corrections: Corrections
    notes: list[str] = field(default_factory=list)

    @property
    def limits(self) -> Limits:
        """Its bounds."""
        return self.explainer.limits

    @cached_property
    def _readers(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(_READERS)

    @cached_property
    def _training(self) -> dict[str, int]:
        gallery = self.explainer.gallery
        return {} if gallery is None else {str(one.file): number for number, one in enumerate(gallery.pictures)}

    def model(self) -> ModelView:
        """What answers here."""
        model, rules = self.explainer.model, self.explainer.rules
        return ModelView(
            run=model.name,
            method=model.spec.method.name,
            classes=list(model.classes),
            kinds=list(self.explainer.kinds),
            temperature=model.trained.temperature,
            unsure_below=rules.min_confidence,
            notes=self.notes,
        )

    async def answer(self, body: AsyncIterator[bytes], length: int, name: str) -> AnswerView:
        """Receive an image and let the model answer. Problem if it cannot be read, or the server is busy.

        Args:
            body: the file, in pieces.
            length: of it in bytes, as the client says; 0 if it does not.
            name: of the file, to be shown.
        """
        try:
            if length > self.limits.upload:
                raise too_long(self.limits)
            with self.engine.place():
                upload = await self.uploads.receive(body, name)
                try:
                    held = self.uploads.renamed(upload) or await self._answered(upload)
                finally:
                    upload.file.unlink(missing_ok=True)  # it is not there if it is held
        except Problem:
            await _read_on(body, self.limits)
            raise
        return (await self._views([held]))[0]

    async def _answered(self, upload: Upload) -> Held:
        found = await self.engine.run(self.explainer.answering, upload, upload.pixels)
        if isinstance(found, Problem):
            raise found
        return self.uploads.hold(upload, found)

    async def answers(self) -> list[AnswerView]:
        """All answers that are kept, the least certain first."""
        return await self._views(self.uploads.all())

    async def one(self, id: str) -> AnswerView:
        """The answer to one image."""
        return (await self._views([self.uploads.get(id)]))[0]

    async def _views(self, answers: Sequence[Held]) -> list[AnswerView]:
        corrected = await self._aside(self.corrections.read)
        return [AnswerView.of(held, corrected.get(held.upload.id), self._training) for held in answers]

    async def why(self, id: str, kind: str, label: str | None, against: str | None) -> bytes:
        """A PNG of why: of a class or the predicted one, against another or the likeliest other one."""
        question = self.explainer.question(self.uploads.get(id).upload, kind, label, against)
        with self.engine.place():
            try:
                return await self.engine.run(self.explainer.drawing, question)
            except BadRequest:
                raise Problem("a class is compared with itself: name two classes", CONFLICT) from None

    async def picture(self, id: str) -> bytes:
        """A small WebP of an image."""
        return await self._thumbnail(self.uploads.get(id).upload.file, self.limits.pixels)

    async def training_picture(self, number: int) -> bytes:
        """A small WebP of a training image."""
        gallery = self.explainer.gallery
        if gallery is None or not 0 <= number < len(gallery.pictures):
            raise Problem("there is no training image of this number", NOT_FOUND)
        return await self._thumbnail(gallery.pictures[number].file, self.explainer.model.spec.data.max_pixels)

    async def _thumbnail(self, file: Path, most: int) -> bytes:
        try:
            return await self._aside(lambda: thumbnail(file, _SIDE, most))
        except Problem:
            raise
        except FgvcError:
            raise Problem("this image cannot be read any more", NOT_FOUND) from None

    async def correct(self, id: str, name: str | None) -> CorrectionView:
        """Record what an image is; None: none of the classes."""
        held = self.uploads.get(id)
        guess, label = held.answer.top[0], None if name is None else self.explainer.known(name)
        about = (held.upload.file, label, guess.name, guess.probability, held.upload.name)
        return CorrectionView.of(await self._aside(lambda: self.corrections.put(*about)))

    async def take_back(self, id: str) -> None:
        """Remove a correction and the copy of its image."""
        if not await self._aside(lambda: self.corrections.remove(id)):
            raise Problem("this image has no correction", NOT_FOUND)

    async def corrected(self) -> list[CorrectionView]:
        """All corrections, oldest first."""
        return [CorrectionView.of(one) for one in (await self._aside(self.corrections.read)).values()]

    async def retraining(self) -> RetrainingView:
        """Write the table of all images and tell the command that trains on it."""
        try:
            found = await self._aside(lambda: prepare(self.explainer.model, self.corrections))
        except BadRequest as error:
            raise Problem(str(error), CONFLICT) from None
        return RetrainingView(**vars(found))

    async def _aside(self, work: Callable[[], Result]) -> Result:
        """Do in another thread what reads and writes files. Problem if none of them is free for too long."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                async with self._readers:
                    return await asyncio.to_thread(work)
        except TimeoutError:
            raise Problem(f"not done within {self.limits.seconds:g} seconds: try again later", LATE) from None


async def _read_on(body: AsyncIterator[bytes], limits: Limits) -> None:
    """Read the rest of a refused body, within the limits: a client that still sends would not see the answer."""
    left = limits.upload
    try:
        async with asyncio.timeout(limits.seconds):
            async for piece in body:
                left -= len(piece)
                if left < 0:
                    return
    except (TimeoutError, Problem):
        return
