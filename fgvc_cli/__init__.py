"""fgvc trains, evaluates, explains and ships fine-grained image classifiers."""

from fgvc_cli.machine.spin import bound_spin

__version__ = "0.1.0"

bound_spin()  # here, since every way into the package passes by before PyTorch is loaded
