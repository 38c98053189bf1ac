"""What is sent of a run: nothing that names this machine, and nothing that prediction does not need."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePath
from typing import Any

from fgvc_cli import __version__
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.results import kept_result
from fgvc_cli.files import write_json
from fgvc_cli.inference.new_photos import Named
from fgvc_cli.runs.checkpoint import about_model, load_model, save_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.schema import checked_spec
from fgvc_cli.spec.build import validate
from fgvc_cli.spec.run import RunSpec

_SPLIT = "test"
_TABLES = ("classes", "confusion")  # of classes alone; another names the images
_WHOLE = ("classes.json", "calibration.json", "taxonomy.json", "validation.safetensors", "unknown.safetensors")


def finished(run: RunFolder) -> dict[str, Any]:
    """What was measured of a run's model on its test split. BadRequest if the run is not finished."""
    if not run.model_file.exists():
        raise BadRequest(f"{run.path} is not finished: it has no model yet; `fgvc train --resume {run.typed}` goes on")
    try:
        return kept_result(run, about_model(run.model_file), Named(_SPLIT))
    except BadRequest:
        raise
    except FgvcError as error:
        raise BadRequest(
            f"{run.path} is not finished: {error}; `fgvc train --resume {run.typed}` goes on, "
            f"or `fgvc eval {run.typed}` measures the model as it is"
        ) from None


def stage(run: RunFolder, result: dict[str, Any], folder: Path) -> None:
    """Write the files of a run that are shared into a folder; `result` is that of `finished`."""
    weights, about = load_model(run.model_file)
    spec = without_places(checked_spec(about["spec"], run.model_file))
    save_model(folder / run.model_file.name, weights, about | {"spec": spec.model_dump(mode="json")})
    write_json(folder / run.spec_file.name, without_places(run.spec()).model_dump(mode="json"))
    for name in _WHOLE:
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, folder / name)
    write_json(folder / "environment.json", _environment(run))
    (folder / "eval").mkdir()
    tables = {name: f"eval/{_SPLIT}-{name}.csv" for name in _TABLES}
    there = {name: table for name, table in tables.items() if (run.path / table).is_file()}
    for table in there.values():
        shutil.copyfile(run.path / table, folder / table)
    measured = {**result, "run": run.name, "files": there}
    if measured.get("unknown"):
        measured["unknown"] = {**measured["unknown"], "what": _bare(measured["unknown"]["what"])}
    write_json(folder / "eval" / f"{_SPLIT}.json", measured)


def _environment(run: RunFolder) -> dict[str, Any]:
    """The software, without the machine and the command."""
    try:
        found = run.environment()
    except FgvcError:
        return {"fgvc": __version__, "packages": {}}
    return {key: found[key] for key in ("fgvc", "python", "packages") if key in found}


def without_places(spec: RunSpec) -> RunSpec:
    """A spec without the folders of this machine: of each path only its last part stays."""
    tree = spec.model_dump(mode="json")
    tree["data"]["root"] = None
    for section in ("data", "backbone"):
        tree[section] = {key: _bare(value) for key, value in tree[section].items()}
    return validate(tree)


def _bare(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.startswith("csv:"):
        file, _, column = value.removeprefix("csv:").rpartition(":")
        return f"csv:{PurePath(file).name}:{column}"
    return PurePath(value).name if PurePath(value).is_absolute() else value
