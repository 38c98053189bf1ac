"""Weights & Biases. Project, entity and mode are those of its variables: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fgvc_cli.runs.tracking.trackers import PROJECT, Outcome, Start, Started, Tracker


class Wandb(Tracker):
    """A run of Weights & Biases. It drops values of steps that it has already."""

    def start(self, start: Start) -> Started:
        """Begin a run, or go on with one."""
        import wandb

        self.image = wandb.Image
        self.run = wandb.init(
            id=start.known or start.id,
            name=start.name,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            config=dict(start.params),
            resume="allow",
            settings=wandb.Settings(console="off", silent=True),
        )
        where = self.run.dir if self.run.offline else self.run.url
        return Started(self.run.id, str(where))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Name → value at an optimizer step."""
        self.run.log(dict(values), step=step)

    def pictures(self, files: Mapping[str, Path], step: int) -> None:
        """Name → PNG file."""
        self.run.log({name: self.image(str(file)) for name, file in files.items()}, step=step)

    def finish(self, outcome: Outcome) -> None:
        """Send what is left."""
        self.run.finish(exit_code=0 if outcome == "finished" else 1)
