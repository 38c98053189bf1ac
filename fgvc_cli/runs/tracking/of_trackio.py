"""Trackio: on this machine, or in a Space that TRACKIO_SPACE_ID names. The project is that of TRACKIO_PROJECT."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fgvc_cli.runs.tracking.trackers import PROJECT, Outcome, Start, Started, Tracker


class Trackio(Tracker):
    """A run of Trackio, which knows runs by their names; so the name holds the id."""

    def start(self, start: Start) -> Started:
        """Begin a run, or go on with one."""
        import trackio

        self.trackio = trackio
        name, project = start.known or start.id, os.environ.get("TRACKIO_PROJECT", PROJECT)
        space = os.environ.get("TRACKIO_SPACE_ID")
        trackio.init(project=project, name=name, config=dict(start.params), resume="allow", space_id=space)
        return Started(name, f"trackio show --project {project}" if space is None else space)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Name → value at an optimizer step."""
        self.trackio.log(dict(values), step=step)

    def pictures(self, files: Mapping[str, Path], step: int) -> None:
        """Name → PNG file."""
        self.trackio.log({name: self.trackio.Image(str(file)) for name, file in files.items()}, step=step)

    def finish(self, outcome: Outcome) -> None:
        """Send what is left."""
        self.trackio.finish()
