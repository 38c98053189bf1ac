"""Results as tables on stdout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from fgvc_cli.streams import say
from fgvc_cli.terminal import Console, new_table

_MEASURES = {"top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class", "macro_f1": "macro F1"}


def show(table: Table, title: str = "") -> None:
    """Print a table on stdout under its title; up to 200 columns wide if stdout is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    if title:
        say(title)
    console.print(table)


def percent(value: float | None) -> str:
    """A share (0..1) in percent with two decimals; a dash for None."""
    return "–" if value is None else f"{100 * value:.2f} %"


def large(count: int) -> str:
    """A count in billions (G) or millions (M)."""
    return f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.2f} M"


def mib(count: int) -> str:
    """Bytes as MiB or GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def print_evaluation(result: dict[str, Any], out: Path | None = None) -> None:
    """Print an evaluation, one row per branch, `final` first; results of older versions may lack some of the rest.

    `out` is the folder of its files, if that is not the run's.
    """
    _print_branches(result)
    for key, show_one in _SECTIONS.items():
        if key in result:
            show_one(result)
    if "per_class" in result:
        _print_classes("all classes", result["per_class"])
    elif "worst_classes" in result:
        _print_classes("classes with the lowest F1", result["worst_classes"])
    if "files" in result:
        json_file = f"eval/{result['split']}.json" if out is None else f"{result['split']}.json"
        say(f"written to {out or result['run']}/: {', '.join([json_file, *result['files'].values()])}")


def _print_branches(result: dict[str, Any]) -> None:
    title = f"{result['run']}: {result['images']} {result['split']} images, {result['classes']} classes"
    headings = {key: (f"top-{min(5, result['classes'])}" if key == "top5" else text) for key, text in _MEASURES.items()}
    table = new_table("branch", *headings.values(), numbers=tuple(headings.values()))
    for name, measures in result["branches"].items():
        values = (percent(measures.get(key)) for key in headings)
        table.add_row(name, *values, style="bold" if name == "final" else None)
    show(table, title)


def _calibration(found: dict[str, float]) -> str:
    line = f"calibration error {percent(found['ece'])}"
    if "temperature" not in found:
        return line
    return f"{line}, {percent(found['ece_calibrated'])} at temperature {found['temperature']:.3f}"


def certainty_lines(result: dict[str, Any]) -> list[str]:
    """Selective prediction, a wanted precision and prediction sets, one line each, as far as they were measured."""
    lines = []
    if "selective" in result:
        found = result["selective"]
        at = ", ".join(f"{percent(found[f'accuracy_{share}'])} of the {share} %" for share in (80, 90, 95))
        lines.append(f"accuracy of the surest images: {at}; area under risk-coverage {percent(found['area'])}")
    if "target" in result:
        found = result["target"]
        lines.append(
            f"wanted precision {percent(found['asked'])}: {percent(found['precision'])} of the answers that have a "
            f"probability of at least {found['threshold']:.4f}, which {percent(found['coverage'])} of the images do "
            f"(threshold by {found['validation_images']} {found.get('images', 'validation images')})"
        )
    if "sets" in result:
        found = result["sets"]
        lines.append(
            f"prediction sets for {percent(found['asked'])}: {percent(found['coverage'])} hold the true class; "
            f"{found['mean_size']:.2f} classes on average, {percent(found['single'])} hold one"
        )
    return lines


def _print_taxonomy(found: dict[str, Any]) -> None:
    rolled = found["rollup"]
    columns = ("accuracy", "answers by rollup")
    table = new_table("level", *columns, numbers=columns)
    for name, share in found["accuracy"].items():
        table.add_row(name, percent(share), percent(rolled["levels"][name]))
    show(table)
    severity = "–" if found["severity"] is None else f"{found['severity']:.2f} of {found['height']}"
    say(f"mean height of the lowest common taxon of a mistake: {severity}", "")
    say(
        f"rollup at {percent(rolled['asked'])}: {percent(rolled['coverage'])} of the images get an answer, "
        f"{percent(rolled['precision'])} of them right (promised on average {percent(rolled['promised'])}), "
        f"specificity {rolled['specificity']:.2f}",
        "",
    )


def _print_unknown(found: dict[str, Any], split: str) -> None:
    columns = ("AUROC", "FPR at 95 %", "known accepted", "unknown rejected", "open-set accuracy")
    table = new_table("score", *columns, numbers=columns)
    keys = ("auroc", "fpr95", "accepted", "rejected", "open_set_accuracy")
    for name, measures in found["scores"].items():
        chosen = name == found["default"]
        row = f"{name} (default)" if chosen else name
        table.add_row(row, *(percent(measures[key]) for key in keys), style="bold" if chosen else None)
    show(table, f"unknown images: {found['images']} of {found['what']}, beside the {split} split")


def _retrieval(found: dict[str, float]) -> str:
    recalls = ", ".join(
        f"recall@{name.removeprefix('recall_')} {percent(found[name])}" for name in found if "_" in name
    )
    return f"retrieval: {recalls}, mean average precision {percent(found['map'])} ({found['queries']} queries)"


def _print_localisation(found: dict[str, Any]) -> None:
    """How well boxes and maps locate the object, next to baselines that do not use the image."""
    boxes = new_table("box", "mean IoU", "IoU ≥ 0.5", numbers=("mean IoU", "IoU ≥ 0.5"))
    for name, measures in found["boxes"].items():
        boxes.add_row(name, f"{measures['mean_iou']:.3f}", percent(measures["over_half"]))
    show(boxes)
    if found["maps"]:
        _print_maps(found["maps"], found.get("parts"))


def _print_maps(maps: dict[str, dict[str, float]], parts: dict[str, float] | None) -> None:
    """Where the peaks lie; with `parts` also how often near one that tells the class from its likeliest rival."""
    columns = {"pointing": "peak inside the true box"}
    if parts is not None:
        columns["pointing_part"] = "peak at a discriminative part"
    table = new_table("map", *columns.values(), numbers=tuple(columns.values()))
    for name, measures in maps.items():
        table.add_row(name, *(percent(measures.get(key)) for key in columns))
    if parts is not None:
        table.add_row("random point in the true box", percent(1), percent(parts["random_point"]))
    show(table)


def _print_confusions(pairs: list[dict[str, Any]]) -> None:
    if not pairs:
        return
    numbers = ("images", "of the class")
    table = new_table("true", "predicted", *numbers, numbers=numbers)
    for pair in pairs:
        table.add_row(pair["true"], pair["predicted"], str(pair["images"]), percent(pair["share"]))
    show(table, "most frequent confusions")


def _print_classes(title: str, rows: list[dict[str, Any]]) -> None:
    numbers = ("images", "precision", "recall", "F1")
    table = new_table("class", *numbers, numbers=numbers)
    for row in rows:
        measures = (percent(row[key]) for key in ("precision", "recall", "f1"))
        table.add_row(row["class"], str(row["images"]), *measures)
    show(table, title)


def _print_certainty(result: dict[str, Any]) -> None:
    for line in certainty_lines(result):
        say(line, "")


_SECTIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "calibration": lambda result: say(_calibration(result["calibration"]), ""),
    "selective": _print_certainty,
    "taxonomy": lambda result: _print_taxonomy(result["taxonomy"]),
    "unknown": lambda result: _print_unknown(result["unknown"], result["split"]),
    "retrieval": lambda result: say(_retrieval(result["retrieval"]), ""),
    "localisation": lambda result: _print_localisation(result["localisation"]),
    "confusions": lambda result: _print_confusions(result["confusions"]),
}
