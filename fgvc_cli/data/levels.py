"""A dataset of which a level of the tree of classes is what is told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fgvc_cli.data.taxonomy import CLASS, Taxonomy
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest


def at_level(index: DatasetIndex, level: str) -> DatasetIndex:
    """The index with the taxa of a level as its classes, the levels above as its tree. BadRequest: no such level."""
    tree = index.taxonomy
    if tree is None:
        raise BadRequest(f"level {level}: {index.name} has no levels; --taxonomy FILE names a tree of its classes")
    if level == CLASS:
        return index
    if level not in tree.levels:
        raise BadRequest(f"level {level}: choose {', '.join(tree.levels)} or {CLASS}")
    place = tree.levels.index(level)
    code = tree.codes[place]
    first = [int(np.argmax(code == number)) for number in range(len(tree.names[place]))]

    def relabelled(split: Split) -> Split:
        return Split(split.files, code[split.labels], split.boxes, split.parts)

    classes = tree.names[place]
    above = Taxonomy(tree.levels[:place], classes, tuple(tree.paths[one][:place] for one in first))
    parts = {name: relabelled(split) for name, split in index.splits().items()}
    return replace(
        index,
        classes=classes,
        train=parts["train"],
        test=parts["test"],
        val=parts.get("val"),
        part_options=(),
        taxonomy=above if above.levels else None,
    )
