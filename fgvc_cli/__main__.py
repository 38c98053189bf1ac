"""`python -m fgvc_cli` is the command `fgvc`."""

from fgvc_cli.cli.main import main

main()
