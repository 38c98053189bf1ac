"""Every method fine-tuned from EfficientNet-Lite0's weights on photographs, same budget, one seed.

python -m benchmarks.trained_methods ROOT [--classes 30] [--epochs 6] [--methods baseline,clan] [--set FIELD=VALUE]

ROOT is the folder of the datasets, with a part of CUB. Preset light-folder, whole images. A fifth of the training
images is the validation split, which selects the epoch; the test split is read once, at the end.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

from benchmarks.parts import index_of, table_of
from fgvc_cli.errors import FgvcError
from fgvc_cli.runs.journal import read_rows
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train

METHODS = [name for name, spec in METHOD_SPECS.items() if not spec.at_once]


def main() -> None:
    """Parse the command line; prints one line a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--classes", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "data.root": str(table_of(index_of(chosen.root), range(chosen.classes), Path(folder) / "photos.csv")),
            "train.epochs": chosen.epochs,
        }
        sets = ["data.val_fraction=0.2", "data.duplicates=off", "data.cache=ram", *chosen.set]
        for method in chosen.methods.split(","):
            spec = build_spec(preset="light-folder", method=method, dataset="csv", flags=flags, sets=sets)
            started = time.monotonic()
            try:
                result = train(spec, Path(folder) / method, Console(file=io.StringIO()))
            except FgvcError as error:
                print(f"{method}: {error}", flush=True)
                continue
            rows = read_rows(Path(folder) / method / "metrics.csv")
            validation = [f"{100 * float(row['val_top1']):.1f}" for row in rows]
            branches = {name: f"{100 * one['top1']:.1f}" for name, one in result["branches"].items() if name != "final"}
            print(
                f"{method}: validation by epoch {', '.join(validation)} %; test of the best epoch "
                f"{100 * result['branches']['final']['top1']:.1f} %; {(time.monotonic() - started) / 60:.0f} min; "
                f"its branches {branches}",
                flush=True,
            )


if __name__ == "__main__":
    main()
