"""Small data sets in the official formats, with the traps of the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from fgvc_cli.spec.data import DataSpec

CAR_CLASSES = ("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo Convertible 2012")
VARIANTS = ("707-320", "F-16A/B", "A340 200")
AIRCRAFT = {  # level → the list of its names, and the name of each variant
    "variant": ("variants.txt", VARIANTS),
    "family": ("families.txt", ("Boeing 707", "F-16", "A340")),
    "manufacturer": ("manufacturers.txt", ("Boeing", "Lockheed Martin", "Boeing")),
}


def write_image(path: Path, width: int = 24, height: int = 18, mode: str = "RGB", seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 255, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def write_lines(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def spec_of(dataset: str, root: Path | None = None, **values: object) -> DataSpec:
    return DataSpec.model_validate({"dataset": dataset, "root": root, "image_size": 32, "workers": 0} | values)


def write_cub(home: Path) -> Path:
    """Three classes, out of order in classes.txt; images 1..9, of each class two train and one test."""
    root = home / "CUB_200_2011"
    classes = {10: "010.Red_winged_Blackbird", 2: "002.Laysan_Albatross", 1: "001.Black_footed_Albatross"}
    names = [classes[key] for key in (1, 2, 10)]
    images = [f"{names[i // 3]}/{names[i // 3][4:]}_{i:04d}.jpg" for i in range(9)]
    for i, image in enumerate(images):
        write_image(root / "images" / image, mode="L" if i == 4 else "RGB", seed=i)
    write_image(root / "images" / names[0] / "stray_rgb.jpg")
    write_lines(home / "attributes.txt", "1 has_bill_shape::curved")
    write_lines(root / "classes.txt", *(f"{key} {name}" for key, name in classes.items()))
    write_lines(root / "images.txt", *(f"{i + 1} {image}" for i, image in enumerate(images)))
    write_lines(root / "image_class_labels.txt", *(f"{i + 1} {(1, 2, 10)[i // 3]}" for i in range(9)))
    write_lines(root / "train_test_split.txt", *(f"{i + 1} {int(i % 3 != 1)}" for i in range(9)))
    write_lines(root / "bounding_boxes.txt", *(f"{i + 1} {i}.0 2.0 10.0 5.5" for i in range(9)))
    write_lines(root / "parts" / "parts.txt", "1 back", "2 left eye")
    write_lines(root / "parts" / "part_locs.txt", "1 1 3.5 4.0 1", "1 2 0.0 0.0 0", "9 2 7.0 8.0 1")
    return root


def _structs(fields: dict[str, list[object]]) -> np.ndarray:
    """A MATLAB struct array (1, N), each field of each struct a cell of its own as in the devkit."""
    count = len(next(iter(fields.values())))
    array = np.empty((1, count), dtype=[(name, object) for name in fields])
    for name, values in fields.items():
        for i, value in enumerate(values):
            array[0, i][name] = value if isinstance(value, str) else np.array([[value]])
    return array


def _car_names() -> np.ndarray:
    names = np.empty((1, len(CAR_CLASSES)), dtype=object)
    names[0] = CAR_CLASSES
    return names


def _car_fields(count: int) -> dict[str, list[object]]:
    boxes: dict[str, list[object]] = {name: [np.uint8(1)] * count for name in ("bbox_x1", "bbox_y1")}
    return boxes | {"bbox_x2": [np.uint16(24)] * count, "bbox_y2": [np.uint8(18)] * count}


def write_cars_devkit(root: Path, *, nested: bool = False, kit: str = "devkit", beside: bool = True) -> Path:
    """Layout (b): six training and three test images."""
    (root / kit).mkdir(parents=True)
    scipy.io.savemat(root / kit / "cars_meta.mat", {"class_names": _car_names()})
    lists = {"cars_train": (6, root / kit / "cars_train_annos.mat")}
    lists["cars_test"] = (3, (root if beside else root / kit) / "cars_test_annos_withlabels.mat")
    for folder, (count, path) in lists.items():
        files = [f"{i + 1:05d}.jpg" for i in range(count)]
        for i, file in enumerate(files):
            write_image((root / folder / folder if nested else root / folder) / file, seed=i)
        fields = _car_fields(count) | {"class": [np.uint8(i % 3 + 1) for i in range(count)], "fname": list(files)}
        scipy.io.savemat(path, {"annotations": _structs(fields)})
    return root


def write_cars_one_list(root: Path) -> Path:
    """Layout (a): nine images, every third one test."""
    files = [f"car_ims/{i + 1:06d}.jpg" for i in range(9)]
    for i, file in enumerate(files):
        write_image(root / file, seed=i)
    fields = {"relative_im_path": list(files)} | _car_fields(9)
    fields |= {"class": [np.uint8(i // 3 + 1) for i in range(9)], "test": [np.uint8(i % 3 == 2) for i in range(9)]}
    scipy.io.savemat(root / "cars_annos.mat", {"annotations": _structs(fields), "class_names": _car_names()})
    return root


def write_aircraft(home: Path, levels: Sequence[str] = tuple(AIRCRAFT)) -> Path:
    """Two training and one test image a variant, 40 × 50 pixels, 20 of which are the banner; lists for these levels."""
    data = home / "fgvc-aircraft-2013b" / "data"
    ids = [f"{34 + i:07d}" for i in range(9)]
    for i, image in enumerate(ids):
        write_image(data / "images" / f"{image}.jpg", width=40, height=50, seed=i)
    for level in levels:
        file, of_variant = AIRCRAFT[level]
        write_lines(data / file, *dict.fromkeys(of_variant))
        lines = [f"{image} {of_variant[i // 3]}" for i, image in enumerate(ids)]
        write_lines(data / f"images_{level}_trainval.txt", *(line for i, line in enumerate(lines) if i % 3 != 2))
        write_lines(data / f"images_{level}_test.txt", *(line for i, line in enumerate(lines) if i % 3 == 2))
    write_lines(data / "images_box.txt", *(f"{image} 1 1 40 30" for image in ids))
    return data


def write_folder(root: Path, counts: dict[str, int]) -> Path:
    """`counts` images in each of these folders."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            write_image(root / folder / f"{i}.png", seed=i)
    return root
