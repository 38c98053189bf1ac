"""An ONNX file that `fgvc export` wrote, run by onnxruntime: from image files to probabilities, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.images.read import read_pixels
from fgvc_cli.data.loading.light.window import prepared
from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import expanded, must_be_file
from fgvc_cli.inference.exported.about import (
    EMBEDDING,
    IMAGES,
    KEY,
    LAYOUT,
    LOGITS,
    PROBABILITIES,
    Evidences,
    ExportAbout,
)
from fgvc_cli.inference.outcome import Floats, Outcome, PlacedBoxes
from fgvc_cli.inference.pictures import OnBad, Picture, read_ahead
from fgvc_cli.machine.threads import cores
from fgvc_cli.runs.schema import checked_spec, parsed
from fgvc_cli.spec.run import RunSpec

if TYPE_CHECKING:
    import onnxruntime

BATCH = 16  # images that are read at once, if no other number is asked for
PIECE = 4  # images that the graph computes at once, where it may: maps of more leave the processor's cache
_LARGE = 32 * 2**20  # bytes of a file whose weights leave the cache anyway: read once for a whole batch they cost less


@dataclass(frozen=True)
class Prepared:
    """An image file as the graph's input."""

    size: tuple[int, int]  # (H, W) of the original
    pixels: NDArray[np.uint8]  # (S, S, 3)
    to_original: Floats  # (2, 3) network-input pixels → the original's


class Session(Protocol):
    """What computes the graph: onnxruntime's session, or what is asked like one."""

    def run(self, names: Sequence[str], feed: Mapping[str, NDArray[np.uint8]]) -> Sequence[NDArray[Any]]:
        """The named outputs."""


@dataclass(frozen=True)
class Exported:
    """An exported model, ready to answer; it is one of `fgvc_cli.inference.outcome.Answers`."""

    file: Path
    about: ExportAbout
    spec: RunSpec
    session: Session
    batch_size: int  # images that `answer` reads at once
    piece: int  # images that the graph computes at once

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.file.name

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(self.about.classes)

    @property
    def temperature(self) -> float:
        """Its probabilities are those at this temperature already."""
        return self.about.temperature

    @property
    def epoch(self) -> int:
        """Epochs that the run was trained for."""
        return self.about.epoch

    @property
    def precision(self) -> str:
        """fp32, fp16 or int8."""
        return self.about.precision

    @cached_property
    def boxes(self) -> dict[str, int]:
        """How many boxes of each name it gives; empty unless it was exported with --evidence."""
        return dict(self._evidence.boxes)

    @property
    def _evidence(self) -> Evidences:
        return self.about.evidence or Evidences()

    @property
    def taxonomy(self) -> Taxonomy | None:
        """The tree of its classes, if the run had one."""
        kept = self.about.taxonomy
        return None if kept is None else Taxonomy.of_record(kept.model_dump()).for_classes(self.classes)

    def run(self, images: NDArray[np.uint8], names: Sequence[str] = (PROBABILITIES,)) -> dict[str, NDArray[Any]]:
        """Outputs of the graph by name, for (B, 3, S, S) uint8 images, of which it computes `piece` at once."""
        pieces = (images[start : start + self.piece] for start in range(0, len(images), self.piece))
        try:
            found = [self.session.run(list(names), {IMAGES: np.ascontiguousarray(piece)}) for piece in pieces]
        except Exception as error:  # onnxruntime's exceptions share no type
            raise FgvcError(f"{self.file}: onnxruntime failed: {_line(error)}") from None
        return {name: np.concatenate(parts) for name, parts in zip(names, zip(*found, strict=True), strict=True)}

    def probabilities(self, images: NDArray[np.uint8]) -> Floats:
        """(B, 3, S, S) uint8 → (B, K) float32, calibrated."""
        found: Floats = self.run(images)[PROBABILITIES]
        return found

    def answer(
        self, pictures: Sequence[Picture], *, evidence: bool = False, on_bad: OnBad | None = None
    ) -> Iterator[Outcome]:
        """As `fgvc_cli.inference.outcome.Answers.answer`; of the evidence what the file was exported with."""
        for good in read_ahead(pictures, self.batch_size, self.prepare, on_bad):
            yield self._outcome(tuple(picture for picture, _ in good), [one for _, one in good], evidence)

    def prepare(self, picture: Picture) -> Prepared:
        """Read an image file. ImageError if that is not possible."""
        data = self.spec.data
        pixels = picture.pixels
        pixels = read_pixels(picture.file, data.max_pixels, picture.part) if pixels is None else pixels
        whole = pixels[: max(1, len(pixels) - picture.cut_bottom)]
        ready, window = prepared(whole, data)
        return Prepared((pixels.shape[0], pixels.shape[1]), ready, window.backward())

    def _outcome(self, pictures: tuple[Picture, ...], ready: Sequence[Prepared], evidence: bool) -> Outcome:
        images = np.stack([one.pixels for one in ready]).transpose(0, 3, 1, 2)
        sizes = tuple(one.size for one in ready)
        found = self.run(images, self._wanted if evidence else (PROBABILITIES,))
        maps = np.stack([one.to_original for one in ready])
        boxes = {
            name: PlacedBoxes.of_input(*_box(found, name), maps, sizes)
            for name in (self._evidence.boxes if evidence else ())
        }
        return Outcome(pictures, sizes, found[PROBABILITIES], found.get(LOGITS), found.get(EMBEDDING), boxes)

    @cached_property
    def _wanted(self) -> tuple[str, ...]:
        """The outputs of an answer with evidence."""
        if self.about.evidence is None:
            return (PROBABILITIES,)
        boxes = (f"boxes.{name}.{part}" for name in self._evidence.boxes for part in _BOX)
        return (PROBABILITIES, LOGITS, *((EMBEDDING,) if self._evidence.embedding else ()), *boxes)


_BOX = ("xyxy", "scores", "valid")


def _box(found: Mapping[str, NDArray[Any]], name: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return (found[f"boxes.{name}.xyxy"], found[f"boxes.{name}.scores"], found[f"boxes.{name}.valid"])


def open_exported(file: Path, *, batch_size: int | None = None, threads: int | None = None) -> Exported:
    """Open a file of `fgvc export --format onnx`.

    Args:
        file: its path.
        batch_size: images that are read at once.
        threads: of onnxruntime; None: one a core.

    Raises:
        BadRequest: there is no such file, fgvc did not write it, or onnxruntime cannot read it or is not installed.
    """
    file = expanded(file)
    try:
        must_be_file(file)
    except FileNotFoundError:
        raise BadRequest(f"there is no model at {file}") from None
    except OSError as error:
        raise BadRequest(f"cannot read {file}: {error.strerror or error}") from None
    session = open_session(file, threads)
    about = read_about(file, session.get_modelmeta().custom_metadata_map)
    spec = checked_spec(about.spec, file)
    fixed = session.get_inputs()[0].shape[0]
    piece = PIECE if file.stat().st_size < _LARGE else BATCH
    return Exported(file, about, spec, session, batch_size or BATCH, fixed if isinstance(fixed, int) else piece)


def open_session(file: Path, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Let onnxruntime read a file, for the CPU. BadRequest, one line, if it cannot."""
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    # Its threads wait for each other asleep: one that spins keeps its core from the thread that the others wait for,
    # which doubles the time where other programs are busy too (docs/export.md).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what goes wrong is an exception as well
    try:
        return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no type
        raise BadRequest(f"{file}: {_unreadable(_line(error), runtime.__version__)}") from None


def _unreadable(line: str, version: str) -> str:
    low = line.lower()
    if "opset" in low or "ir version" in low or "ir_version" in low:
        return (
            f"onnxruntime {version} does not know this version of ONNX ({line}): "
            "pip install --upgrade onnxruntime, or export again"
        )
    if "protobuf" in low or "modelproto does not have a graph" in low:
        return "is not an ONNX file, or it is damaged"
    return f"onnxruntime {version} cannot read it: {line}"


def read_about(file: Path, metadata: Mapping[str, str]) -> ExportAbout:
    """What an exported file says of itself. BadRequest if fgvc did not write it."""
    text = metadata.get(KEY)
    if text is None:
        raise BadRequest(f"{file} was not written by `fgvc export`, so its classes and preprocessing are not known")
    try:
        about = ExportAbout.model_validate(parsed(text, ExportAbout))
    except ValueError as error:
        raise BadRequest(f"{file}: what fgvc wrote into it is damaged: {error}") from None
    if about.layout != LAYOUT:
        raise BadRequest(f"{file} was written by fgvc {about.fgvc}, in another layout: export the run again")
    return about


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise BadRequest("an exported .onnx file needs onnxruntime: pip install 'fgvc[onnx]'") from None
    return onnxruntime


def _line(error: Exception) -> str:
    """The first line of an error of onnxruntime, without its code."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first.partition(" : ")[2].rpartition(" : ")[2] or first
