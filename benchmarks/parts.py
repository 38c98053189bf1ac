"""Write a table of the images of some classes of a dataset, for `--dataset csv`.

python -m benchmarks.parts ROOT OUT.csv [--dataset cub] [--classes 30]

ROOT is the folder of the datasets. The table has the first classes, with the dataset's own splits.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from fgvc_cli.csv_text import csv_text
from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.spec.build import build_spec

HEADER = ("path", "label", "split")


def index_of(root: Path, dataset: str = "cub") -> DatasetIndex:
    """A dataset's images."""
    return load_index(build_spec(method="baseline", dataset=dataset, flags={"data.root": str(root)}).data)


def table_of(index: DatasetIndex, classes: Collection[int], table: Path) -> Path:
    """A table of the images of some classes."""
    rows = []
    for split in ("train", "test"):
        part = index.split(split)
        rows += [
            (str(index.root / file), index.classes[label], split)
            for file, label in zip(part.files, part.labels.tolist(), strict=True)
            if label in classes
        ]
    table.write_text(csv_text(HEADER, rows))
    return table


def main() -> None:
    """Parse the command line and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dataset", default="cub")
    parser.add_argument("--classes", type=int, default=30)
    chosen = parser.parse_args()
    table_of(index_of(chosen.root, chosen.dataset), range(chosen.classes), chosen.out)


if __name__ == "__main__":
    main()
