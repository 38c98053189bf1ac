"""`fgvc viz`: what a model looked at, as pictures, and plots of a run as a whole."""

from __future__ import annotations

import typer

from fgvc_cli.cli.commands.viz import confusion, curves, embedding, kinds, neighbours

viz = typer.Typer(
    help="Draw what a model looked at. Without --run, the newest run under runs/ that has the evidence is used.",
    no_args_is_help=True,
)

_HELP = {
    "rois": "Boxes: AP-CNN's ROI pyramid (red: high level, blue: middle, green: low), or any other method's.",
    "cam": "The class activation heat map, the attended box and the crop of that box.",
    "grid": "The scored cells of a gate next to the class activation map.",
    "parts": "The selected parts, by scale.",
    "relations": "How much each part takes from every other part.",
    "channels": "The channels of a class; red frames: high level, green frames: middle level.",
    "attention": "Gates, attention maps and the maps of the branches.",
    "sequence": "How much each part of a sequence adds to the logit of the class.",
    "all": "Every kind that the model has evidence for, one folder per kind.",
}

for _kind, _help in _HELP.items():
    viz.command(_kind, help=_help)(kinds.command_of(_kind))
viz.command("versus")(kinds.versus)
viz.command("curves")(curves.curves)
viz.command("confusion")(confusion.confusion)
viz.command("embedding")(embedding.embedding)
viz.command("neighbours")(neighbours.neighbours)
