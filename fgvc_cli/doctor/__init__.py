"""Whether fgvc can work on this machine, and what it could do better: the checks of `fgvc doctor`."""
