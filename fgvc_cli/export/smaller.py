"""An ONNX model in 16 bits, or in 8 bits with ranges from calibration images; both by onnxruntime's own tools."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fgvc_cli.errors import FgvcError
from fgvc_cli.inference.exported.about import IMAGES
from fgvc_cli.inference.exported.model import Exported
from fgvc_cli.inference.pictures import Picture, read_ahead

_HEAVY = ["Conv", "MatMul", "Gemm"]  # what is computed in 8 bits; all else stays as it is


def as_fp16(model: Any) -> Any:
    """Weights and most operators in fp16; input and outputs stay as they are."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [*DEFAULT_OP_BLOCK_LIST, "Resize", "GridSample"]
    return convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True, op_block_list=kept)


def write_int8(source: Path, model: Exported, pictures: Sequence[Picture], file: Path) -> None:
    """Static quantisation: convolutions and matrix products in 8 bits, one scale for each channel of the weights.

    Args:
        source: the ONNX file in fp32.
        model: the same, opened, for its preprocessing.
        pictures: calibration images.
        file: what is written.

    Raises:
        FgvcError: onnxruntime's quantisation failed.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = source.with_name("prepared.onnx")
    try:
        with _quiet():
            quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(file),
                _reader(model, pictures),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_HEAVY,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"CalibMovingAverage": True},
            )
    except OSError:
        raise
    except Exception as error:  # its errors are of many types
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FgvcError(f"onnxruntime's quantisation failed: {line}") from error
    finally:
        ready.unlink(missing_ok=True)


def _reader(model: Exported, pictures: Sequence[Picture]) -> Any:
    """The calibration images one at a time, as the graph's input."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = self._images()

        def _images(self) -> Iterator[dict[str, Any]]:
            for good in read_ahead(pictures, 1, model.prepare, on_bad=lambda picture, error: None):
                for _, one in good:
                    yield {IMAGES: one.pixels.transpose(2, 0, 1)[None].copy()}

        def get_next(self) -> dict[str, Any] | None:
            return next(self.images, None)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, the tools' advice to themselves is not shown."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
