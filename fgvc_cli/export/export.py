"""Write a run's model as one file, compare it with the run, and only then give it its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from fgvc_cli import __version__
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.certainty.validation import COLUMNS, open_validation
from fgvc_cli.export.graph import traced
from fgvc_cli.export.images import images_to_calibrate, images_to_check
from fgvc_cli.export.parity import LIMIT, Parity, compare
from fgvc_cli.files import make_parent, write_atomically
from fgvc_cli.inference.exported.about import LAYOUT, Evidences, ExportAbout, preprocessing_of
from fgvc_cli.inference.exported.model import BATCH, PIECE, Exported, open_exported
from fgvc_cli.inference.look import Model, open_model
from fgvc_cli.inference.outcome import Answers
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import load_model, save_model
from fgvc_cli.runs.schema import TaxonomyRecord, Validated
from fgvc_cli.terminal import Console

Format = Literal["onnx", "torch", "safetensors"]
ENDINGS: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
PRECISIONS = {"onnx": ("fp32", "fp16", "int8"), "torch": ("fp32", "fp16"), "safetensors": ("fp32", "fp16")}
CALIBRATING = 128  # training images that set the 8-bit ranges


@dataclass(frozen=True)
class ExportRequest:
    """What is asked for."""

    format: str = "onnx"
    precision: str = "fp32"
    dynamic_batch: bool = False
    evidence: bool = False
    out: Path | None = None  # None: in the run's folder export/
    images: tuple[str, ...] = ()  # to compare on; none: the run's validation split
    check: int | None = None  # at most so many of them; None: 64, and 2,000 where accuracy is measured
    calibration: tuple[str, ...] = ()  # none: training images of the run
    max_loss: float = 0.01  # accuracy that fp16 and int8 may lose

    def __post_init__(self) -> None:
        if self.format not in ENDINGS:
            raise BadRequest(f"--format {self.format}: choose onnx, torch or safetensors")
        if self.precision not in PRECISIONS[self.format]:
            raise BadRequest(self._no_such_precision())
        if self.format == "safetensors" and (self.dynamic_batch or self.evidence):
            flag = "--dynamic-batch" if self.dynamic_batch else "--evidence"
            raise BadRequest(f"{flag} is for onnx and torch: weights alone take any batch and give all evidence")
        if self.calibration and self.precision != "int8":
            raise BadRequest("--calibration is for --precision int8")
        if self.out is not None and self.out.suffix.lower() != ENDINGS[self.format]:
            raise BadRequest(f"--out {self.out}: a file of --format {self.format} ends in {ENDINGS[self.format]}")

    def _no_such_precision(self) -> str:
        known = f"--precision {self.precision}: --format {self.format} has {' and '.join(PRECISIONS[self.format])}"
        others = [form for form, has in PRECISIONS.items() if self.precision in has]
        return f"{known}; {self.precision} is written by --format {' and '.join(others)}" if others else known

    @property
    def checked(self) -> int:
        """The most images to compare on."""
        return self.check or (64 if self.precision == "fp32" else 2000)


@dataclass(frozen=True)
class Written:
    """An exported file that agrees with its run."""

    file: Path
    size: int  # bytes
    parity: Parity
    about: ExportAbout = field(repr=False)


def export_run(path: Path, request: ExportRequest, console: Console) -> Written:
    """Export the model of a run folder, or a `model.safetensors`.

    Raises:
        BadRequest: there is no such run, no images to compare on, or packages are missing.
        FgvcError: it cannot be exported or written, or the file does not answer as the run does. No file is left.
    """
    if request.format == "onnx":
        from fgvc_cli.export.onnx_file import check_packages

        check_packages()
    model = open_model(path, EvalRequest(device="cpu", precision="fp32"))
    reporter = Reporter(console)
    measured = request.precision != "fp32"
    pictures = images_to_check(model, request.images, request.checked, console, measured=measured)
    calibrating: list[Picture] = []
    if request.precision == "int8":
        calibrating = images_to_calibrate(model, request.calibration, CALIBRATING, console)
    file = _target(model, request)
    make_parent(file)
    job = _Job(model, request, pictures, calibrating, reporter)
    write_atomically(file, job.fill)
    assert job.parity is not None
    assert job.about is not None
    return Written(file, file.stat().st_size, job.parity, job.about)


def _target(model: Model, request: ExportRequest) -> Path:
    file = request.out
    if file is None:
        tail = "" if request.precision == "fp32" else f"-{request.precision}"
        folder = model.file.parent / "export" if model.run is not None else model.file.parent / "exported"
        file = folder / f"model{tail}{ENDINGS[request.format]}"
    if file.exists() and (not file.is_file() or file.resolve() == model.file.resolve()):
        raise BadRequest(f"--out {file}: this is {'the model itself' if file.is_file() else 'not a regular file'}")
    return file


class _Job:
    """One export: fills a temporary file, and fails unless it answers as the run does."""

    def __init__(
        self,
        model: Model,
        request: ExportRequest,
        pictures: Sequence[Picture],
        calibrating: Sequence[Picture],
        reporter: Reporter,
    ) -> None:
        self.model, self.request = model, request
        self.pictures, self.calibrating, self.reporter = pictures, calibrating, reporter
        self.parity: Parity | None = None
        self.about: ExportAbout | None = None

    def fill(self, file: Path) -> None:
        """Write the temporary file and compare it with the run."""
        fill: dict[str, Callable[[Path], Answers]] = {
            "onnx": self._onnx,
            "torch": self._program,
            "safetensors": self._weights,
        }
        written = fill[self.request.format](file)
        self._agree(written)

    def _agree(self, written: Answers) -> None:
        found = self.parity = compare(self.model, written, self.pictures, self.reporter)
        if self.request.precision == "fp32":
            if not found.largest <= LIMIT:  # also if it is no number
                raise FgvcError(
                    f"the exported file answers otherwise than the run: {found.lines()[0]}; "
                    f"at most {LIMIT:g} is allowed, so nothing is written"
                )
        elif found.loss > self.request.max_loss + 1e-9 or found.largest != found.largest:
            lost = "accuracy" if found.before is not None else "of the answers"
            raise FgvcError(
                f"{self.request.precision} loses {100 * found.loss:.2f} % {lost} ({'; '.join(found.lines())}): more "
                f"than --max-loss {self.request.max_loss:g}, so nothing is written"
            )

    def _traced(self, *, half: bool = False) -> tuple[torch.export.ExportedProgram, list[str]]:
        self.reporter.line(f"exporting {self.model.name}: {self.model.spec.method.name}")
        program, names, evidence = traced(
            self.model, evidence=self.request.evidence, dynamic_batch=self.request.dynamic_batch, half=half
        )
        self.about = about_of(self.model, self.request.precision, evidence)
        return program, names

    def _onnx(self, file: Path) -> Exported:
        from fgvc_cli.export.onnx_file import as_onnx, write_onnx
        from fgvc_cli.export.smaller import as_fp16, write_int8

        program, names = self._traced()
        assert self.about is not None
        proto: Any = as_onnx(program, names, self.model.spec)
        if self.request.precision == "fp16":
            proto = as_fp16(proto)
        write_onnx(proto, self.about, file)
        if self.request.precision == "int8":
            whole = file.with_name("fp32.onnx")
            file.rename(whole)
            self.reporter.line(f"calibrating on {len(self.calibrating)} images")
            write_int8(whole, open_exported(whole), self.calibrating, file)
            write_onnx(_loaded(file), self.about, file)
            whole.unlink()
        return open_exported(file)

    def _program(self, file: Path) -> Exported:
        from fgvc_cli.export.program_file import ProgramSession, write_program

        program, names = self._traced(half=self.request.precision == "fp16")
        assert self.about is not None
        write_program(program, self.about, file)
        piece = PIECE if self.request.dynamic_batch else 1
        return Exported(file, self.about, self.model.spec, ProgramSession.load(file, names), BATCH, piece)

    def _weights(self, file: Path) -> Model:
        weights, about = load_model(self.model.file)
        self.about = about_of(self.model, self.request.precision, None)
        if self.request.precision == "fp16":
            weights = {name: one.half() if one.is_floating_point() else one for name, one in weights.items()}
        kept = self.about.model_dump(mode="json", include={"precision", "preprocessing", "validation", "taxonomy"})
        save_model(file, weights, about | kept)
        return open_model(file, EvalRequest(device="cpu", precision="fp32"))


def _loaded(file: Path) -> Any:
    import onnx

    return onnx.load(str(file))


def about_of(model: Model, precision: str, evidence: Evidences | None) -> ExportAbout:
    """What answers need beside the network."""
    trained = model.trained
    tree = None if model.run is None else model.run.taxonomy()
    return ExportAbout(
        layout=LAYOUT,
        fgvc=__version__,
        run=model.name,
        spec=trained.spec.model_dump(mode="json"),
        classes=list(trained.classes),
        epoch=trained.epoch,
        temperature=trained.temperature,
        precision=precision,
        preprocessing=preprocessing_of(trained.spec.data),
        validation=_validated(model),
        taxonomy=None if tree is None else TaxonomyRecord.model_validate(tree),
        evidence=evidence,
    )


def _validated(model: Model) -> Validated | None:
    """What thresholds are chosen by; None if the run has no validation split, or not of this state of the model."""
    try:
        kept = open_validation(model.file, model.run, model.trained.epoch, model.trained.temperature)
    except FgvcError:
        return None
    columns = {name: getattr(kept, name).tolist() for name in COLUMNS}
    return Validated(**columns, images=kept.images)
