"""MLflow. Store and experiment are those of its variables: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from fgvc_cli.runs.tracking.trackers import PROJECT, Outcome, Start, Started, Tracker

_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_MOST_PARAMS = 100  # in one request
_LONGEST = 500  # characters of a value that every version of the server takes


class Mlflow(Tracker):
    """A run of MLflow."""

    def start(self, start: Start) -> Started:
        """Begin a run, or go on with one. A parameter is written once: MLflow refuses other values later."""
        import mlflow
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self.metric = Metric
        self.client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        if start.known is not None:
            self.id = start.known
            self.client.update_run(self.id, status="RUNNING")
        else:
            experiment = self.client.get_experiment_by_name(name)
            kept = experiment.experiment_id if experiment else self.client.create_experiment(name)
            self.id = self.client.create_run(kept, run_name=start.name).info.run_id
            params = [Param(field, str(value)[:_LONGEST]) for field, value in start.params.items()]
            for first in range(0, len(params), _MOST_PARAMS):
                self.client.log_batch(self.id, params=params[first : first + _MOST_PARAMS])
        return Started(self.id, f"{mlflow.get_tracking_uri()}, experiment {name}")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Name → value at an optimizer step."""
        now = int(time.time() * 1000)
        self.client.log_batch(self.id, metrics=[self.metric(name, value, now, step) for name, value in values.items()])

    def pictures(self, files: Mapping[str, Path], step: int) -> None:
        """Name → PNG file."""
        for file in files.values():
            self.client.log_artifact(self.id, str(file), "pictures")

    def finish(self, outcome: Outcome) -> None:
        """Say how the run ended."""
        self.client.set_terminated(self.id, _STATUS[outcome])
