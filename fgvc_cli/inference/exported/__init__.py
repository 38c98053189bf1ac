"""An exported model: one ONNX file that answers by itself, without the run and without PyTorch."""

from fgvc_cli.inference.exported.model import Exported, open_exported

__all__ = ["Exported", "open_exported"]
