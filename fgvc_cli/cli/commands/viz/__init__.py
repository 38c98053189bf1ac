"""`fgvc viz`: what a model looked at, as pictures, and plots of a run as a whole."""

from __future__ import annotations

import typer

from fgvc_cli.cli.commands.viz import confusion, curves, embedding, kinds

viz = typer.Typer(
    help="Draw what a model looked at. Without --run the newest run under runs/ is taken that has the evidence.",
    no_args_is_help=True,
)

_HELP = {
    "rois": "Boxes: AP-CNN's ROI pyramid (red high, blue middle, green low level), or any method's.",
    "cam": "What speaks for the class, the attended box and what is in it.",
    "grid": "The scored cells of a gate beside the class activation map.",
    "parts": "The picked parts, by scale.",
    "relations": "What parts take of one another.",
    "channels": "A class's own channels, high level framed red, middle level green.",
    "attention": "Gates, attention maps and the maps of branches.",
    "sequence": "What each part of a sequence adds to the answer.",
    "all": "Everything that the model has evidence of, a folder a kind.",
}

for _kind, _help in _HELP.items():
    viz.command(_kind, help=_help)(kinds.command_of(_kind))
viz.command("versus")(kinds.versus)
viz.command("curves")(curves.curves)
viz.command("confusion")(confusion.confusion)
viz.command("embedding")(embedding.embedding)
