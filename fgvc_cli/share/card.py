"""The card of a shared model: README.md with metadata in the hub's own schema, and what a stranger must know."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fgvc_cli.data.facts import CATALOG, DatasetFacts
from fgvc_cli.files import write_text
from fgvc_cli.hub.client import library
from fgvc_cli.hub.names import HubName
from fgvc_cli.report.numbers import chance, interval
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.schema import Branch, EvalResult
from fgvc_cli.share.contents import CARD, PICTURE
from fgvc_cli.spec.run import RunSpec

_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")
_TASK = "image-classification"
_NAMED = 8  # classes in the first line


def write_card(folder: Path, name: HubName, pictures: int, licence: str | None) -> None:
    """Write README.md into a folder of staged files.

    Args:
        folder: what `stage` wrote.
        name: where it goes.
        pictures: images that the picture in the folder explains; 0: there is none.
        licence: of the model, by the hub's identifier, such as apache-2.0.
    """
    hub = library()
    run = RunFolder(folder)
    spec, result = run.spec(), EvalResult.model_validate(run.evaluation("test"))
    about = hub.ModelCardData(
        model_name=name.name,
        license=licence,
        library_name="fgvc",
        pipeline_tag=_TASK,
        tags=["fgvc", "fine-grained", _TASK, spec.method.name],
        metrics=["accuracy"],
        eval_results=_results(hub, spec, result),
    )
    parts = [_head(name, spec, result, folder), _use(name), _data(spec, result), _method(spec), _measures(result)]
    parts += [_calibration(run, result), _confusions(result), _why(pictures), _limits(run, spec)]
    text = "\n\n".join(part for part in parts if part)
    write_text(folder / CARD, str(hub.ModelCard(f"---\n{about.to_yaml()}\n---\n\n{text}\n")))


def _results(hub: Any, spec: RunSpec, result: EvalResult) -> list[Any]:
    """The measures as the hub lists them: shares 0..1 of the test split."""
    facts, final = CATALOG[spec.data.dataset], result.branches.final
    values = [("accuracy", "top-1", final.top1), ("accuracy", "mean per class", final.mean_per_class)]
    if result.calibration is not None:
        values.append(("expected_calibration_error", "calibration error", result.calibration.ece))
    return [
        hub.EvalResult(
            task_type=_TASK,
            dataset_type=facts.name,
            dataset_name=_title(facts),
            dataset_split="test",
            metric_type=kind,
            metric_name=title,
            metric_value=round(value, 6),
        )
        for kind, title, value in values
    ]


def _head(name: HubName, spec: RunSpec, result: EvalResult, folder: Path) -> str:
    size = (folder / "model.safetensors").stat().st_size / 1e6
    some = RunFolder(folder).classes()[:_NAMED]
    names = ", ".join(map(_plain, some)) + (", …" if len(some) < result.classes else "")
    return (
        f"# {_plain(name.name)}\n\nTells {result.classes} classes apart: {names}. "
        f"{_capital(_plain(spec.method.title))} on {_plain(spec.backbone.name)}, {spec.data.side} × {spec.data.side} "
        f"pixels, {size:.1f} MB. Trained, measured and described by fgvc."
    )


def _use(name: HubName) -> str:
    return (
        "## How to use it\n\nWith fgvc installed (its extra `hub`):\n\n```python\nimport fgvc_cli as fgvc\n"
        f'model = fgvc.load("{name}")\nprint(model.predict("photo.jpg").top)\n```\n\n'
        f"or `fgvc predict photo.jpg --run {name}`. Nothing is unpickled, and no code of this repository runs."
    )


def _data(spec: RunSpec, result: EvalResult) -> str:
    facts = CATALOG[spec.data.dataset]
    home = f" ([home]({facts.home}))" if facts.home else ""
    lines = [f"{_plain(_title(facts))}{home}. {_licence(facts)}"]
    limits = (("training", spec.data.limit_train), ("test", spec.data.limit_test))
    lines += [f"Of the {what} images, {count} were used." for what, count in limits if count is not None]
    lines.append(f"Measured on {result.images} test images, which had no part in training or selection.")
    return "## Data\n\n" + " ".join(lines)


def _title(facts: DatasetFacts) -> str:
    return "Photos of who trained the model" if facts.licence == "yours" else facts.title


def _licence(facts: DatasetFacts) -> str:
    if facts.licence == "yours":
        return "They are not published with it; ask that person what they may be used for."
    return f"Licence of the data: {_plain(facts.licence)}."


def _method(spec: RunSpec) -> str:
    start = "random weights" if spec.backbone.weights == "none" else f"the weights `{spec.backbone.weights}`"
    epochs = "fitted at once" if spec.method.at_once else f"epochs: {spec.train.epochs}"
    return (
        f"## Method\n\n{_capital(_plain(spec.method.title))}. Paper: *{_plain(spec.method.paper)}*. "
        f"Network {_plain(spec.backbone.name)} from {start}; {epochs}, seed {spec.train.seed}. "
        "Every setting is in `run.json`."
    )


def _measures(result: EvalResult) -> str:
    final, images = result.branches.final, result.images
    rows = [_row("top-1", final.top1, images), _row(f"top-{min(5, result.classes)}", final.top5, images)]
    rows.append(f"| mean per class | {_percent(final.mean_per_class)} | |")
    guess = chance(result.classes, None).guess
    rows.append(f"| chance | {_percent(guess)} | |")
    rest = list(_branches(result))
    text = "## Measures\n\nOn the test split; intervals are of the sampling of its images (Wilson, 95 %).\n\n"
    text += "\n".join(["| measure | value | interval |", "|---|---|---|", *rows])
    return text + ("\n\nParts of the network: " + ", ".join(rest) + "." if rest else "")


def _branches(result: EvalResult) -> Iterator[str]:
    for name, branch in (result.branches.model_extra or {}).items():
        if isinstance(branch, Branch):
            yield f"{_plain(name)} {_percent(branch.top1)}"


def _row(name: str, share: float, images: int) -> str:
    low, high = interval(share, images)
    return f"| {name} | {_percent(share)} | {_percent(low)} to {_percent(high)} |"


def _calibration(run: RunFolder, result: EvalResult) -> str:
    found = result.calibration
    if found is None:
        return ""
    text = f"## Calibration\n\nExpected calibration error {_percent(found.ece)} (15 bins, test split)"
    if run.calibration_file.exists():
        text += f"; {_percent(found.ece_calibrated)} at temperature {found.temperature:.3f}, which predictions use."
    else:
        text += "; probabilities are not calibrated: there was no validation split."
    if result.selective is not None:
        sure = result.selective
        text += (
            f" Of the surest 80, 90 and 95 % of the images, {_percent(sure.accuracy_80)}, {_percent(sure.accuracy_90)} "
            f"and {_percent(sure.accuracy_95)} are right."
        )
    return text


def _confusions(result: EvalResult) -> str:
    if not result.confusions:
        return "## Known confusions\n\nNone on the test split."
    rows = [
        f"| {_plain(pair.true)} | {_plain(pair.predicted)} | {pair.images} | {_percent(pair.share)} |"
        for pair in result.confusions
    ]
    head = ["| true class | taken for | images | of the class |", "|---|---|---|---|"]
    return "## Known confusions\n\nThe most frequent ones on the test split.\n\n" + "\n".join([*head, *rows])


def _why(pictures: int) -> str:
    if not pictures:
        return ""
    images = "an image" if pictures == 1 else f"{pictures} images"
    return f"## Why it decides so\n\nWhat the model looked at in {images}, by `fgvc viz`:\n\n![Why]({PICTURE})"


def _limits(run: RunFolder, spec: RunSpec) -> str:
    lines = ["It answers with one of its classes whatever the image shows."]
    if run.unknown_file.exists():
        lines.append("With `--unknown` (`unknown=True`) it tells images that seem to be of no known class.")
    if run.validation_file.exists():
        lines.append("`--target-precision` marks answers that are not sure enough.")
    packages: Sequence[str] = [f"{name} {version}" for name, version in run.environment()["packages"].items()]
    made = f"fgvc {run.environment().get('fgvc', '')}, {', '.join(packages)}" if packages else "fgvc"
    return f"## Limits\n\n{' '.join(lines)}\n\nMade with {made}; precision {spec.train.precision}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _plain(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))
