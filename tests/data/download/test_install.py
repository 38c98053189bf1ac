"""A dataset from archives to its place: it is there whole, or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fgvc_cli.data.catalog import locate
from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.download import install as install_module
from fgvc_cli.data.download.archives import BUNDLES, Way
from fgvc_cli.data.download.install import Request, install
from fgvc_cli.data.download.progress import Progress
from fgvc_cli.data.download.state import MARKER, SUMS, Here, look
from fgvc_cli.data.download.transfer import Patience
from fgvc_cli.errors import BadRequest, FgvcError
from tests.data.download.official import counts, pack, pack_zip, serve_cars, serve_cub, serve_tree
from tests.data.download.server import Files, answer, cut
from tests.data.small_archives import spec_of, write_aircraft, write_cars_one_list, write_cub, write_image, write_lines
from tests.data.trees import (
    write_dogs,
    write_flowers,
    write_food101,
    write_inat,
    write_nabirds,
    write_pets,
    write_vegfru,
)

QUICK = Patience(attempts=3, pause=0.01)


class Heard(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def put(name: str, place: Path, *given: Path, heard: Progress | None = None, **more: bool) -> Here:
    return install(Request(name, place, given, **more), heard or Heard(), QUICK)


def nothing_in(place: Path) -> bool:
    """Whether no dataset is there, nor anything unpacked."""
    return {path.name for path in place.iterdir()} <= {".fgvc-download"} and not list(place.rglob("staging"))


def test_from_archives_to_an_index(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    place = tmp_path / "data"
    here = put("cub", place)
    home = place / "CUB_200_2011"
    assert here == Here(home, True, "") == look("cub", place)
    assert locate("cub", place) == home
    index = load_index(spec_of("cub", place))
    assert (len(index.train), len(index.test), index.train.boxes is not None) == (6, 3, True)
    assert (home / "segmentations" / "001" / "one.png").is_file()
    assert not (place / "attributes.txt").exists()
    assert [path.name for path in place.rglob("*") if path.name.endswith((".tgz", ".part", ".json"))] == [MARKER]
    asked, heard = len(server.asked), Heard()
    assert put("cub", place) == put("cub", place, tmp_path / "made", heard=heard) == here
    assert len(server.asked) == asked
    assert heard.lines == ["cub is installed already, so the given files are not used"]
    check = ["sha256sum", "--quiet", "-c", SUMS]
    if shutil.which("sha256sum"):
        assert subprocess.run(check, cwd=home, check=False).returncode == 0


def test_a_failed_download_goes_on_in_the_next_run(
    server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = serve_cub(server, monkeypatch, tmp_path / "made")
    size = bundle.ways[0].archives[0].size
    server.faults = [cut(size // 2), *[answer(503)] * 3]
    with pytest.raises(FgvcError, match=r"CUB_200_2011\.tgz could not be fetched: .* goes on where it stopped"):
        put("cub", tmp_path / "data")
    assert nothing_in(tmp_path / "data")
    assert put("cub", tmp_path / "data").whole
    assert server.asked[4].range == f"bytes={size // 2}-"
    assert server.asked[4].sent == size - size // 2


def test_masks_may_be_missing(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    del server.bodies["/segmentations.tgz"]
    heard = Heard()
    assert put("cub", tmp_path / "data", heard=heard).whole
    assert any("left out, since the dataset is complete without it: segmentations.tgz" in line for line in heard.lines)


def test_archives_that_unpack_to_another_set(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    counts(monkeypatch, "cub", 3, 7, 3)
    with pytest.raises(FgvcError, match=r"not the known set \(a part of .* 6 of 7 training"):
        put("cub", tmp_path / "data")
    assert nothing_in(tmp_path / "data")


def test_no_room(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    monkeypatch.setattr(install_module.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(FgvcError, match=r"cub needs about .* kB in .* 1 kB are free; .* another disk with --root"):
        put("cub", tmp_path / "data")
    assert not server.asked


def test_no_room_to_unpack(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    serve_cub(server, monkeypatch, tmp_path / "made")
    with monkeypatch.context() as patch:
        patch.setattr("fgvc_cli.data.download.extract._Place.copy", full)
        with pytest.raises(
            FgvcError, match=r"no room to unpack it in .* the disk is full; .*what was downloaded is kept"
        ):
            put("cub", tmp_path / "data")
    assert nothing_in(tmp_path / "data")
    asked = len(server.asked)
    assert put("cub", tmp_path / "data", offline=True).whole
    assert len(server.asked) == asked


def test_ctrl_c_while_unpacking(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stopping(Progress):
        def advance(self, what: str, done: int, total: int | None, unit: str = "bytes") -> None:
            if what.startswith("unpacking"):
                raise KeyboardInterrupt

    serve_cub(server, monkeypatch, tmp_path / "made")
    with pytest.raises(KeyboardInterrupt):
        put("cub", tmp_path / "data", heard=Stopping())
    assert nothing_in(tmp_path / "data")
    assert put("cub", tmp_path / "data").whole


def test_what_a_killed_process_left_is_removed(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    left = tmp_path / "data" / ".fgvc-download" / "cub" / "staging" / "CUB_200_2011"
    write_lines(left / "images.txt", "1 half")
    assert look("cub", tmp_path / "data") is None
    assert put("cub", tmp_path / "data").whole
    assert not left.exists()


def test_a_part_that_is_there_is_not_touched(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    home = write_cub(tmp_path / "data")
    (home / "images" / "001.Black_footed_Albatross" / "Black_footed_Albatross_0000.jpg").unlink()
    with pytest.raises(BadRequest, match=r"holds cub already, but not all of it: 1 images listed .* move that folder"):
        put("cub", tmp_path / "data")
    assert not server.asked


def test_another_folder_of_that_name(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    write_lines(tmp_path / "data" / "CUB_200_2011" / "notes.txt", "mine")
    with pytest.raises(BadRequest, match=r"exists, but is not CUB-200-2011 birds; move it away"):
        put("cub", tmp_path / "data")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FgvcError, match=r"cannot be written to .*; choose another place with --root"):
        put("cub", tmp_path / "file")


CHILD = """
import json, sys, types
from dataclasses import replace
from pathlib import Path
from fgvc_cli.data.download.archives import BUNDLES, Archive, Way
from fgvc_cli.data.facts import CATALOG
from fgvc_cli.data.download.install import Request, install
from fgvc_cli.data.download.progress import Progress
sound = types.SimpleNamespace(problems=(), doubts=(), full=True, notes=())  # the real one takes seconds to load PyTorch
sys.modules["fgvc_cli.data.download.verify"] = types.SimpleNamespace(verify=lambda *_, **__: sound)
class Told(Progress):
    def say(self, line): print(line, flush=True)
archives = tuple(Archive(**known) for known in json.loads(sys.argv[1]))
BUNDLES["cub"] = replace(BUNDLES["cub"], ways=(Way(archives),))
CATALOG["cub"] = replace(CATALOG["cub"], classes=3, train=6, test=3)
print(install(Request("cub", Path(sys.argv[2])), Told()).whole)
"""


def test_two_processes_at_once(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dataclasses import asdict

    archives = serve_cub(server, monkeypatch, tmp_path / "made").ways[0].archives
    arguments = [json.dumps([asdict(archive) for archive in archives]), str(tmp_path / "data")]
    command = [sys.executable, "-c", CHILD, *arguments]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert all(out.endswith("True\n") for out, _ in told)
    assert [asked.path for asked in server.asked] == ["/CUB_200_2011.tgz", "/segmentations.tgz"]
    assert look("cub", tmp_path / "data").whole


def test_the_second_waits_and_says_so(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    heard, request = Heard(), Request("cub", tmp_path / "data")
    with install_module._locked(request, Heard()):
        waiting = threading.Thread(target=put, args=("cub", tmp_path / "data"), kwargs={"heard": heard})
        waiting.start()
        while not heard.lines:
            time.sleep(0.01)
        assert not server.asked
    waiting.join(timeout=60)
    assert heard.lines[0] == "another fgvc process is installing cub; waiting for it to finish"
    assert look("cub", tmp_path / "data").whole


def test_an_archive_at_hand(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    archive = tmp_path / "CUB_200_2011.tgz"
    archive.write_bytes(server.bodies["/CUB_200_2011.tgz"])
    heard = Heard()
    assert put("cub", tmp_path / "data", archive, heard=heard, offline=True).whole
    assert not server.asked
    assert archive.exists()
    assert heard.lines == ["cub: reading its lists"]  # its checksum is known, so nothing is decoded


def test_an_archive_of_unknown_bytes_is_looked_at(
    server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    image = tmp_path / "made" / "CUB_200_2011/images/002.Laysan_Albatross/Laysan_Albatross_0003.jpg"
    image.write_bytes(image.read_bytes()[:200])
    archive = tmp_path / "CUB_200_2011.tgz"
    archive.write_bytes(pack(tmp_path / "made", ["CUB_200_2011"]))
    heard = Heard()
    with pytest.raises(
        FgvcError, match=r"cub is damaged, .* images/002\.Laysan_Albatross/Laysan_Albatross_0003\.jpg: is no"
    ):
        put("cub", tmp_path / "data", archive, heard=heard)
    assert "is not the official file (has " in heard.lines[0]
    assert nothing_in(tmp_path / "data")


def test_a_sound_part_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_cub(tmp_path / "mine")
    here = put("cub", tmp_path / "data", tmp_path / "mine")
    assert not here.whole
    assert "3 of 200 classes, 6 of 5994 training and 3 of 5794 test images" in here.note
    assert look("cub", tmp_path / "data") == here
    assert load_index(spec_of("cub", tmp_path / "data")).train.boxes is not None


def test_offline_fetches_nothing(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    with pytest.raises(BadRequest, match=r"CUB_200_2011\.tgz must be fetched, but --offline is set; .*127\.0\.0\.1"):
        put("cub", tmp_path / "data", offline=True)
    assert not server.asked


def test_cars_from_what_can_be_had(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = serve_cars(server, monkeypatch, tmp_path / "made")
    images = pack_zip(root, tmp_path / "archive.zip", ["cars_train", "cars_test"])
    labels = root / "cars_test_annos_withlabels.mat"
    with pytest.raises(
        BadRequest, match=r"cars: cars_test_annos_withlabels\.mat cannot be downloaded, only got by hand"
    ):
        put("cars", tmp_path / "data", images)
    with pytest.raises(BadRequest, match=r"cars_train\.tgz and cars_test\.tgz cannot be downloaded"):
        put("cars", tmp_path / "data", labels)
    assert nothing_in(tmp_path / "data")
    assert not server.asked
    assert put("cars", tmp_path / "data", images, labels).whole
    assert [asked.path for asked in server.asked] == ["/car_devkit.tgz"]
    index = load_index(spec_of("cars", tmp_path / "data"))
    assert (len(index.train), len(index.test)) == (6, 3)


@pytest.mark.parametrize("wrapper", ["", "Stanford Cars/"])
def test_cars_in_the_other_layout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrapper: str) -> None:
    root = write_cars_one_list(tmp_path / "made" / wrapper)
    counts(monkeypatch, "cars", 3, 6, 3)
    images = pack_zip(tmp_path / "made", tmp_path / "car_ims.zip", None if wrapper else ["car_ims"])
    given = (images,) if wrapper else (images, root / "cars_annos.mat")
    assert put("cars", tmp_path / "data", *given, offline=True).whole


def test_cars_from_an_unpacked_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.data.small_archives import write_cars_devkit

    write_cars_devkit(tmp_path / "mine", kit="car_devkit/devkit")
    counts(monkeypatch, "cars", 3, 6, 3)
    assert put("cars", tmp_path / "data", tmp_path / "mine", offline=True).whole
    assert (tmp_path / "mine" / "cars_train" / "00001.jpg").exists()


def test_the_wrong_file(tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(pack(write_cub(tmp_path / "made").parent))
    with pytest.raises(BadRequest, match=r"holds none of cars_train, .* is it the right file for this dataset"):
        put("cars", tmp_path / "data", tmp_path / "x.tgz")
    with pytest.raises(BadRequest, match=r"nowhere\.zip: does not exist; --from-archive names a file"):
        put("cars", tmp_path / "data", tmp_path / "nowhere.zip")


TREES = {
    "aircraft": lambda home: write_aircraft(home).parent,
    "flowers": write_flowers,
    "vegfru": write_vegfru,
    "dogs": write_dogs,
    "pets": write_pets,
    "food101": write_food101,
    "inat2021": write_inat,
    "nabirds": write_nabirds,
}


@pytest.mark.parametrize("name", TREES)
def test_every_dataset_in_its_makers_archives(
    server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    home = TREES[name](tmp_path / "made")
    given = serve_tree(server, monkeypatch, name, home)
    assert put(name, tmp_path / "data", *given).whole
    before, after = (load_index(spec_of(name, place)) for place in (home, tmp_path / "data"))
    assert before.classes == after.classes
    assert (before.train.files, before.test.files) == (after.train.files, after.test.files)
    assert (before.train.boxes is None) == (after.train.boxes is None)


def test_vegfru_covers_its_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = write_vegfru(tmp_path / "mine")
    for name in ("vegfru", "veg200", "fru92"):
        index = load_index(spec_of(name, root))
        counts(monkeypatch, name, len(index.classes), len(index.train), len(index.test))
    archives = []
    for number, folder in enumerate(sorted(path.name for path in root.iterdir())):
        archives.append(tmp_path / f"part{number}.tar.gz")
        archives[-1].write_bytes(pack(root, [folder]))
    with pytest.raises(BadRequest, match=r"vegfru: fru92_images cannot be downloaded, only got by hand"):
        put("vegfru", tmp_path / "data", *archives[1:])
    assert put("vegfru", tmp_path / "data", *archives).whole
    assert look("veg200", tmp_path / "data").whole
    assert put("fru92", tmp_path / "data").whole
    assert put("veg200", tmp_path / "alone", *archives[2:]).folder == tmp_path / "alone" / "veg200"
    assert look("fru92", tmp_path / "alone") is None


def test_the_small_set(server: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def listed(split: str) -> dict[str, object]:
        for i in range(2):
            write_image(tmp_path / "made" / split / f"0000{i}_x" / "a.jpg", seed=i)
        return {
            "images": [{"id": i, "file_name": f"{split}/0000{i}_x/a.jpg"} for i in range(2)],
            "annotations": [{"id": i, "image_id": i, "category_id": i} for i in range(2)],
            "categories": [{"id": i, "name": f"Genus {i}", "image_dir_name": f"0000{i}_x"} for i in range(2)],
        }

    archives = []
    for split in ("train_mini", "val"):
        (tmp_path / "made").mkdir(exist_ok=True)
        (tmp_path / "made" / f"{split}.json").write_text(json.dumps(listed(split)))
        for name in (split, f"{split}.json"):
            body = pack(tmp_path / "made", [name])
            archives.append(server.archive(f"{name}.tar.gz", body, holds=name))
    monkeypatch.setitem(BUNDLES, "inat2021", replace(BUNDLES["inat2021"], mini=Way(tuple(archives), train=2)))
    counts(monkeypatch, "inat2021", 2, 5, 2)
    assert put("inat2021", tmp_path / "data", mini=True).whole
    assert look("inat2021", tmp_path / "data").whole
