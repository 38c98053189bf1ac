"""The tests run as fgvc does: it sets the environment that PyTorch's libraries read when they are loaded."""

import fgvc_cli  # noqa: F401
