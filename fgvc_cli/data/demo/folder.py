"""The demo data set as a folder on disk, drawn on first use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from fgvc_cli.data.demo.bird import PARTS
from fgvc_cli.data.demo.image import CLASSES, SIZE, TRAITS, VERSION, draw
from fgvc_cli.files import sync, temporary_folder

Progress = Callable[[int, int], None]  # images done, images in total
TRAIN_PER_CLASS = 80
TEST_PER_CLASS = 40


def generate(
    root: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    size: int = SIZE,
    train_per_class: int = TRAIN_PER_CLASS,
    test_per_class: int = TEST_PER_CLASS,
) -> Path:
    """Draw the data set into a folder inside `root` and return the folder. A folder that exists is returned at once.

    The folder is either complete or absent: it is drawn under a temporary name, flushed to the disk, then renamed.
    Several processes may call this at the same time: each draws its own folder, and the first to finish is kept.
    Temporary folders of killed processes are removed. `progress(done, total)` is called after each image. If a size is
    not the default one, the folder's name contains the sizes. Raises OSError if `root` cannot be written.
    """
    name = f"demo-v{VERSION}-seed{seed}"
    if (size, train_per_class, test_per_class) != (SIZE, TRAIN_PER_CLASS, TEST_PER_CLASS):
        name += f"-{size}px-{train_per_class}-{test_per_class}"
    target = root / name
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    counts = {"train": train_per_class * len(CLASSES), "test": test_per_class * len(CLASSES)}
    with _written_whole(target) as temporary:
        _write(temporary, seed, size, counts, progress)
    return target


def _write(folder: Path, seed: int, size: int, counts: dict[str, int], progress: Progress | None) -> None:
    images: dict[str, list[dict[str, object]]] = {}
    done, total = 0, sum(counts.values())
    for split, count in counts.items():
        (folder / split).mkdir()
        images[split] = []
        for index in range(count):
            image, file = draw(seed, split, index, size=size), f"{split}/{index:05d}.png"
            Image.fromarray(image.pixels).save(folder / file)
            images[split].append({"file": file, "label": image.label, "box": image.box, "parts": image.parts})
            done += 1
            if progress is not None:
                progress(done, total)
    facts = {"version": VERSION, "seed": seed, "size": size, "classes": CLASSES, "parts": PARTS, "traits": TRAITS}
    (folder / "annotations.json").write_text(json.dumps({**facts, "images": images}), encoding="utf-8")


@contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`; renamed to `target` at the end, or removed if `target` exists."""
    with temporary_folder(target.parent) as temporary:
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            sync(path)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        sync(target.parent)
