"""Embeddings of images: computed once by a network that no longer changes, and kept (`FeatureStore`)."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgvc_cli.backbones import EMBEDDING
from fgvc_cli.data.images.read import ImageError, read_bytes, read_image
from fgvc_cli.data.loading.to_device import to_device
from fgvc_cli.data.loading.transforms import generator_of
from fgvc_cli.data.types import Batch
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.inference.features.store import FeatureStore, digest
from fgvc_cli.inference.folding import fold_batch_norm
from fgvc_cli.inference.loaded import Draw, Loaded, load_pictures
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.pictures import OnBad, Picture
from fgvc_cli.machine.device import autocast
from fgvc_cli.machine.distributed import gathered, world
from fgvc_cli.machine.threads import in_lanes
from fgvc_cli.methods.base import Method, precise
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import load_model
from fgvc_cli.spec.data import OF_WEIGHTS
from fgvc_cli.spec.run import RunSpec

_READERS = 8  # of files on a slow disk
_TRIED, _FAST = 32, 0.0005  # files by which that is known, and seconds for one in memory
_LEAST_BATCH = 32  # images: smaller batches leave a device idle
_LANE_PIXELS = 32 * 224**2  # of the images of one lane's batch: fewer leave a core idle
_MOST_LANES = 4  # each takes the memory of a batch
_VERSION = "1"  # changed whenever the same network gives other embeddings
R = TypeVar("R")
_TRANSFORM = (*OF_WEIGHTS, "fit", "max_pixels")
_RANDOM = ("padding", "flip", "rotation", "augment", "augment_operations", "augment_magnitude", "erasing")


@dataclass
class Embedder:
    """A method's `embed` on a device, and what it gave before, in this process or another.

    Args:
        method: in evaluation mode, on the device; its BatchNorm may be folded.
        spec: of its run.
        device: where to compute.
        key: of the weights (`weights_key`), as they are in the run's file.
    """

    method: Method
    spec: RunSpec
    device: torch.device
    key: bytes
    branches: bool = False  # after the embedding, also what each branch's classifier reads: the mean of its map

    @classmethod
    def of(cls, method: Method, spec: RunSpec, device: torch.device) -> Embedder:
        """The embedder of a method as it is now; the method itself is left as it is."""
        key = weights_key(method.state_dict(), method)
        folded = copy.deepcopy(method).eval()
        fold_batch_norm(folded)
        return cls(folded.to(device).to(memory_format=torch.channels_last), spec, device, key)

    @classmethod
    def of_model(cls, model: Model, *, branches: bool = False) -> Embedder:
        """The embedder of an opened model."""
        key = weights_key(load_model(model.file)[0], model.trained.method)
        return cls(model.trained.method, model.spec, model.device, key, branches)

    @cached_property
    def layout(self) -> dict[str, slice]:
        """Where each vector is in a row: `embedding`, then the branches if they are wanted."""
        side, found, start = self.spec.data.side, {}, 0
        blank = torch.zeros(1, 3, side, side, device=self.device).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            for name, vector in self._parts(blank).items():
                found[name] = slice(start, start + vector.shape[1])
                start += vector.shape[1]
        return found

    def _parts(self, images: Tensor) -> dict[str, Tensor]:
        """Name → (B, D)."""
        if not self.branches:
            return {EMBEDDING: self.method.embed(images)}
        evidence = self.method(images, evidence=True).evidence
        if evidence is None or evidence.embedding is None:
            raise BadRequest(f"method {self.spec.method.name} gives no embedding")
        heads = {name: head.map.float().mean((2, 3)) for name, head in evidence.heads.items()}
        return {EMBEDDING: precise(evidence.embedding)} | heads

    @cached_property
    def store(self) -> FeatureStore:
        """Where the embeddings are kept."""
        width = max(part.stop for part in self.layout.values())
        about = {"version": _VERSION, "backbone": self.spec.backbone.name, "precision": self.spec.train.precision}
        if self.branches:
            about["branches"] = ", ".join(self.layout)
        if not self.method.spec.behind:
            about["method"] = json.dumps(self.spec.method.model_dump(mode="json"), sort_keys=True)
        return FeatureStore(digest(json.dumps(about).encode(), self.key), width, about)

    def embed(
        self,
        pictures: Sequence[Picture],
        reporter: Reporter,
        *,
        view: int = 0,
        on_bad: OnBad | None = None,
        shared: bool = True,
    ) -> Tensor:
        """(N, D) float32 on the CPU, in the pictures' order.

        Args:
            pictures: the images.
            reporter: shows the progress of what is computed.
            view: 0: as in evaluation; from 1: an augmented view, the same whenever it is asked for.
            on_bad: called with each image that cannot be read, whose row becomes NaN; None: the ImageError is raised.

            shared: with several processes, each computes its share, and all must call this. False: this one computes
                all.

        Raises:
            ImageError: as said.
            FgvcError: an embedding is not finite, or the store cannot be written.
        """
        told: set[int] = set()
        note = None if on_bad is None else _noted(on_bad, told)
        keys = self._keys(pictures, view, note)
        wanted = [position for position in self.store.missing(keys) if keys[position]]
        here = world()
        if shared and here.size > 1:
            gathered(None)  # all know what is missing before any computes
            self._compute([(keys[i], pictures[i]) for i in wanted[here.rank :: here.size]], view, reporter, note)
            gathered(None)
            self.store.refresh()
        else:
            self._compute([(keys[i], pictures[i]) for i in wanted], view, reporter, note)
        lost = set(self.store.missing(keys))
        lost_keys = {keys[position] for position in lost}
        found = torch.full((len(keys), self.store.width), float("nan"))
        rows = [row for row, key in enumerate(keys) if key not in lost_keys]
        if note is not None:  # equal files are read once, and by one process
            unread = [one for one, key in zip(pictures, keys, strict=True) if key in lost_keys]
            self._tell(note, (one for one in unread if id(one) not in told))
        found[rows] = torch.from_numpy(self.store.vectors([keys[row] for row in rows]))
        return found

    def _tell(self, on_bad: OnBad, pictures: Iterable[Picture]) -> None:
        """Read images again that have no embedding, for the reason."""
        for picture in pictures:
            try:
                read_image(picture.file, self.spec.data.max_pixels, picture.part)
            except ImageError as error:
                on_bad(picture, error)

    def vectors(self, pictures: Sequence[Picture], reporter: Reporter) -> Tensor:
        """As `embed`, but with an image in memory among them nothing is kept: a camera's would fill the disk."""
        if all(picture.pixels is None for picture in pictures):
            return self.embed(pictures, reporter)
        return torch.cat([torch.from_numpy(vectors) for _, vectors in self._computed(pictures)])

    def kept(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """(N, D) of images whose embeddings are kept already, without computing. KeyError if one is not."""
        return self.store.vectors(self._keys(pictures, 0, None))

    def _keys(self, pictures: Sequence[Picture], view: int, on_bad: OnBad | None) -> list[bytes]:
        """The key of each picture; empty for a file that cannot be read."""
        data = self.spec.data
        fields = (*_TRANSFORM, *_RANDOM) if view else _TRANSFORM
        words = data.model_dump(mode="json", include=set(fields)) | ({"view": view, "seed": self._seed} if view else {})
        how = json.dumps(words, sort_keys=True).encode()

        def key_of(picture: Picture) -> bytes | ImageError:
            cut = str(picture.cut_bottom).encode()
            if picture.pixels is not None:
                return digest(how, cut, str(picture.pixels.shape).encode(), picture.pixels.tobytes())
            try:
                return digest(how, cut, read_bytes(picture.file, picture.part).tobytes())
            except ImageError as error:
                return ImageError(f"{picture.file}: {error}")
            except OSError as error:
                return ImageError(f"cannot read {picture.file}: {error.strerror or error}")

        found = _each(key_of, pictures)
        for picture, key in zip(pictures, found, strict=True):
            if isinstance(key, ImageError):
                if on_bad is None:
                    raise key
                on_bad(picture, key)
        return [b"" if isinstance(key, ImageError) else key for key in found]

    @property
    def _seed(self) -> int:
        return self.spec.train.seed

    def _compute(
        self, wanted: Sequence[tuple[bytes, Picture]], view: int, reporter: Reporter, on_bad: OnBad | None
    ) -> None:
        """Compute and store, batch by batch."""
        if not wanted:
            return
        key_of = {id(picture): key for key, picture in wanted}

        def draw(picture: Picture) -> torch.Generator:
            return generator_of(self._seed, view, int.from_bytes(key_of[id(picture)][:7], "little"))

        pictures = [picture for _, picture in wanted]
        reporter.begin("computing features", -(-len(wanted) // self._size))
        try:
            for loaded, vectors in self._computed(pictures, on_bad, draw if view else None):
                self.store.append([key_of[id(picture)] for picture in loaded.pictures], vectors)
                reporter.advance(len(vectors))
                reporter.facts({})
        finally:
            reporter.end()

    @cached_property
    def _lanes(self) -> int:
        """Batches that are computed at once: on the CPU one a thread, so that none waits for a thread that reads."""
        return min(torch.get_num_threads(), _MOST_LANES) if self.device.type == "cpu" else 1

    @property
    def _size(self) -> int:
        """Images in a batch."""
        train = self.spec.train
        if self._lanes > 1:
            return train.eval_batch_size or max(1, min(_LEAST_BATCH, _LANE_PIXELS // self.spec.data.side**2))
        return train.eval_batch_size or max(train.batch_size, _LEAST_BATCH)

    def _computed(
        self, pictures: Sequence[Picture], on_bad: OnBad | None = None, draw: Draw | None = None
    ) -> Iterator[tuple[Loaded, NDArray[np.float32]]]:
        """Batches of the pictures and their vectors, in order. FgvcError if one is not finite."""
        batches = load_pictures(pictures, self.spec.data, self._size, on_bad=on_bad, draw=draw)
        for loaded, vectors in in_lanes(lambda loaded: self._vectors(loaded.batch), batches, self._lanes):
            _must_be_finite(vectors, loaded.pictures)
            yield loaded, vectors

    @torch.inference_mode()
    def _vectors(self, batch: Batch) -> NDArray[np.float32]:
        images = to_device(batch, self.device, *self.spec.data.normalisation).images
        with autocast(self.device, self.spec.train.precision):
            vectors = torch.cat([part.float() for part in self._parts(images).values()], 1)
        found: NDArray[np.float32] = vectors.float().cpu().numpy()
        return found


def _each(read: Callable[[Picture], R], pictures: Sequence[Picture]) -> list[R]:
    """What `read` gives of each picture: by many threads if their disk is slow, by this one if they are in memory.

    Python, which one thread runs at a time, then takes longer to change threads than to read.
    """
    started = time.monotonic()
    found = list(map(read, pictures[:_TRIED]))
    if time.monotonic() - started < _TRIED * _FAST:
        return found + list(map(read, pictures[_TRIED:]))
    with ThreadPoolExecutor(_READERS) as pool:
        return found + list(pool.map(read, pictures[_TRIED:]))


def _noted(on_bad: OnBad, told: set[int]) -> OnBad:
    """The callback, with a note of the images that it was called with."""

    def note(picture: Picture, error: ImageError) -> None:
        told.add(id(picture))
        on_bad(picture, error)

    return note


def weights_key(state: Mapping[str, Tensor], method: Method) -> bytes:
    """A digest of the weights that decide an embedding: the backbone's where the classifier is `behind`, else all.

    Args:
        state: the method's state dict, as a run's file holds it.
        method: the method, of any weights.
    """
    reads = type(method).reads_embedding(method.spec)
    words = [b"backbone" if method.spec.behind else type(method).__name__.encode(), str(reads).encode()]
    for name in sorted(state):
        if name.startswith("backbone.") or not method.spec.behind:
            value = state[name].detach().cpu().contiguous()
            words += [name.encode(), str(value.dtype).encode(), str(tuple(value.shape)).encode()]
            words.append(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest(*words)


def _must_be_finite(vectors: NDArray[np.float32], pictures: Sequence[Picture]) -> None:
    """FgvcError that names the first image whose embedding is not finite."""
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise FgvcError(
            f"the features of {pictures[wrong[0]].name} are not finite: use --precision fp32, or other weights"
        )
