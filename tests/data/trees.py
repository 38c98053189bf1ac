"""Small parts of more datasets in their official formats, with the traps of the real ones; images of 24 × 18 pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from tests.data.small_archives import write_image, write_lines

BLUE = (0, 0, 254)


def write_mask(path: Path, background: object, inside: object, box: tuple[int, int, int, int], mode: str) -> None:
    """A mask of one rectangle."""
    image = Image.new(mode, (24, 18), background)
    image.paste(inside, box)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({"quality": 75} if path.suffix == ".jpg" else {}))


def cells(texts: Sequence[str]) -> np.ndarray:
    """A MATLAB cell array (N, 1) of texts."""
    array = np.empty((len(texts), 1), dtype=object)
    array[:, 0] = texts
    return array


def write_flowers(home: Path, *, masks: bool = True) -> Path:
    """Classes 1, 2 and 102, of each two training, one validation and one test image; numbers in no order."""
    root = home / "flowers-102"
    labels = np.array([[102, 1, 2, 1, 2, 102, 2, 102, 1, 1, 2, 102]], dtype=np.uint8)
    for number in range(1, 13):
        write_image(root / "jpg" / f"image_{number:05d}.jpg", seed=number)
        if masks:
            write_mask(root / "segmim" / f"segmim_{number:05d}.jpg", BLUE, (200, 180, 40), (8, 0, 16, 8), "RGB")
    scipy.io.savemat(root / "imagelabels.mat", {"labels": labels})
    parts = {"trnid": [[7, 1, 2, 3, 4, 6]], "valid": [[5, 8, 9]], "tstid": [[12, 11, 10]]}
    scipy.io.savemat(root / "setid.mat", {name: np.array(ids, dtype=np.uint16) for name, ids in parts.items()})
    return root


VEGETABLES = ("Chinese artichoke", "dandelion", "winter_melon")
FRUITS = ("dandelion", "Hami melon")


def write_vegfru(home: Path) -> Path:
    """Of each class two training, one validation and two test images; fruits count from 1, vegetables from 0."""
    root = home / "VegFru"
    for part, names, base in (("veg200", VEGETABLES, 0), ("fru92", FRUITS, 1)):
        for split, count in (("train", 2), ("val", 1), ("test", 2)):
            lines = []
            for label, name in enumerate(names):
                for i in range(count):
                    file = f"{name}/v_{split} {i}.jpg"
                    write_image(root / f"{part}_images" / file, seed=i)
                    lines.append(f"{file} {label + base}")
            write_lines(root / f"{part}_lists" / f"{part[:3]}_{split}.txt", *reversed(lines))
    write_image(root / "veg200_images" / "dandelion" / "stray.jpg")
    return root


DOGS = ("n02085620-Chihuahua", "n02098105-soft-coated_wheaten_terrier", "n02107683-Bernese_mountain_dog")
_VOC = "<annotation><folder>%s</folder><size><width>24</width><height>18</height></size>{}</annotation>"
_BOX = "<object><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def write_dogs(home: Path, *, nested: bool = False) -> Path:
    """Three breeds, of each two training images, one with two dogs, and one test image."""
    root = home / "stanford_dogs"
    images, boxes = ("images/Images", "annotations/Annotation") if nested else ("Images", "Annotation")
    for split, numbers in (("train", (1, 2)), ("test", (3,))):
        stems = [f"{folder}/{folder[:9]}_{number}" for folder in DOGS for number in numbers]
        for stem in stems:
            write_image(root / images / f"{stem}.jpg", seed=len(stem))
            marked = _BOX.format(2, 3, 20, 15) + (_BOX.format(0, 5, 9, 18) if stem.endswith("_2") else "")
            write_lines(root / boxes / stem, _VOC.format(marked))
        labels = np.array([[DOGS.index(stem.split("/")[0]) + 1] for stem in stems], dtype=np.uint8)
        lists = {"file_list": cells([f"{stem}.jpg" for stem in stems]), "annotation_list": cells(stems)}
        scipy.io.savemat(root / f"{split}_list.mat", lists | {"labels": labels})
    return root


PETS = (("Abyssinian", 1, 1), ("american_bulldog", 2, 2), ("Egyptian_Mau", 6, 1))


def write_pets(home: Path) -> Path:
    """Three breeds of 37, of each two training images and one test image; stray files everywhere."""
    root = home / "oxford-iiit-pet"
    for split, numbers in (("trainval", (10, 2)), ("test", (3,))):
        lines = []
        for name, breed, species in PETS:
            for number in numbers:
                lines.append(f"{name}_{number} {breed} {species} 1")
                write_image(root / "images" / f"{name}_{number}.jpg", seed=number)
                trimap = root / "annotations" / "trimaps" / f"{name}_{number}.png"
                write_mask(trimap, 2, 1, (4, 5, 14, 16), "L")
                with Image.open(trimap) as image:
                    image.putpixel((3, 6), 3)  # its border
                    image.save(trimap)
                (trimap.with_name(f"._{trimap.name}")).write_bytes(b"\0\5\x16\7")
        write_lines(root / "annotations" / f"{split}.txt", *lines)
    with Image.open(root / "images" / "Egyptian_Mau_3.jpg") as image:
        image.convert("RGBA").save(root / "images" / "Egyptian_Mau_3.jpg", format="PNG")
    (root / "images" / "Abyssinian_100.mat").write_bytes(b"MATLAB")
    write_lines(root / "annotations" / "list.txt", "#Image CLASS-ID SPECIES BREED ID", "Abyssinian_100 1 1 1")
    return root


def write_food101(home: Path) -> Path:
    """Two dishes, of each two training images and one test image, and an image that no list names."""
    root = home / "food-101"
    dishes = ("apple_pie", "pho")
    for split, numbers in (("train", (1005649, 14)), ("test", (7,))):
        names = [f"{dish}/{number}" for dish in dishes for number in numbers]
        for name in names:
            write_image(root / "images" / f"{name}.jpg", seed=len(name))
        write_lines(root / "meta" / f"{split}.txt", *names)
        (root / "meta" / f"{split}.json").write_text(json.dumps({dish: [] for dish in dishes}))
    write_image(root / "images" / "pho" / "999.jpg")
    write_lines(root / "meta" / "classes.txt", *dishes)
    write_lines(root / "meta" / "labels.txt", "Apple pie", "Pho")
    return root


SPECIES = {7: "Lumbricus terrestris", 3: "Sabella spallanzanii", 9: "Sabella spallanzanii"}


def write_inat(home: Path, train: str = "train") -> Path:
    """Three species, two of one name; annotations in another order than images, ids with gaps."""
    root = home / "inat2021"
    folders = {key: f"{key:05d}_Animalia_{name.replace(' ', '_')}" for key, name in SPECIES.items()}
    categories = [{"id": key, "name": name, "image_dir_name": folders[key]} for key, name in SPECIES.items()]
    for split, count in ((train, 2), ("val", 1)):
        images, annotations = [], []
        for key, folder in folders.items():
            for i in range(count):
                image = {"id": 1000 * key + i, "file_name": f"{split}/{folder}/{i}é.jpg", "latitude": None}
                write_image(root / image["file_name"], seed=i)
                images.append(image)
                annotations.append({"id": len(images), "image_id": image["id"], "category_id": key})
        tree = {"info": {"year": 2021}, "images": images, "categories": categories, "annotations": annotations[::-1]}
        (root / f"{split}.json").write_text(json.dumps(tree | {"licenses": []}))
    return root


def write_nabirds(home: Path) -> Path:
    """Classes 295, 313 and 1010 of a tree with more nodes, two of one name; image ids are text."""
    root = home / "nabirds"
    ids = [f"{i}000139e-21dc-4d0c-bfe1-4cae3c85c829" for i in range(6)]
    files = [f"{(313, 1010, 295)[i % 3]:04d}/{image.replace('-', '')}.jpg" for i, image in enumerate(ids)]
    for i, file in enumerate(files):
        write_image(root / "images" / file, seed=i)
    write_lines(root / "images.txt", *(f"{image} {file}" for image, file in zip(ids, files, strict=True)))
    write_lines(root / "image_class_labels.txt", *(f"{image} {int(files[i][:4])}" for i, image in enumerate(ids)))
    write_lines(root / "train_test_split.txt", *(f"{image} {int(i < 3)}" for i, image in enumerate(ids)))
    write_lines(root / "bounding_boxes.txt", *(f"{image} 2 3 10 12" for image in ids))
    names = {0: "Birds", 22: "Ducks", 295: "Common Eider (Adult male)", 313: "Teal", 800: "Owls", 1010: "Teal"}
    write_lines(root / "classes.txt", *(f"{key} {name}" for key, name in names.items()))
    write_lines(root / "hierarchy.txt", "22 0", "295 22", "313 22", "800 0", "1010 800")
    write_lines(root / "parts" / "parts.txt", "0 bill", "1 crown")
    write_lines(root / "parts" / "part_locs.txt", f"{ids[0]} 0 5 6 1", f"{ids[0]} 1 -1 -1 0")
    return root


WRITERS = {
    "flowers": write_flowers,
    "vegfru": write_vegfru,
    "veg200": write_vegfru,
    "fru92": write_vegfru,
    "dogs": write_dogs,
    "pets": write_pets,
    "food101": write_food101,
    "inat2021": write_inat,
    "nabirds": write_nabirds,
}
