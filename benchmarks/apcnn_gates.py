"""What AP-CNN's spatial gates are like when a run starts, and when it is trained: one table a run.

    python -m benchmarks.apcnn_gates PHOTOS RUN [RUN ...]

PHOTOS is a folder of images (all below it, 200 at most, evenly spread), RUN the folder of a run of `apcnn`. Of each
level: the mean gate; the share of cells below 0.01 or above 0.99, where a sigmoid hardly learns; how much a gate
differs within an image (standard deviation over its cells, the mean of all images); and the share of images whose
strongest cell is the one that is strongest in most of them: near 1 it looks at one place, whatever is to be seen.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import normalize, resize

from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.run import RunSpec

MOST = 200
ENDINGS = (".jpg", ".jpeg", ".png")


def photographs(folder: Path, spec: RunSpec) -> Tensor:
    """(N, 3, S, S) as the network is given them, without a crop."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)
    files = files[:: max(len(files) // MOST, 1)][:MOST]
    side, mean, std = spec.data.image_size, list(spec.data.mean), list(spec.data.std)
    read = (decode_image(str(file), ImageReadMode.RGB) for file in files)
    return torch.stack([normalize(resize(one, [side, side]).float() / 255, mean, std) for one in read])


@torch.inference_mode()
def gates(method: Method, images: Tensor) -> dict[str, Tensor]:
    """Level → (N, h, w) spatial gates of the first stage."""
    found = [method.eval()(part, evidence=True).evidence for part in images.split(16)]
    names = [name for name, maps in found[0].maps.items() if maps.kind == "gate" and name.startswith("raw_")]
    return {name: torch.cat([one.maps[name].values[:, 0] for one in found]) for name in names}


def line(gate: Tensor) -> str:
    """The numbers of one level."""
    cells = gate.flatten(1)
    saturated = ((cells < 0.01) | (cells > 0.99)).float().mean()
    strongest = cells.argmax(1).bincount().max() / len(cells)
    return f"{cells.mean():8.3f} {saturated:8.1%} {cells.std(1).mean():8.3f} {strongest:8.1%}"


def main() -> None:
    """Print the tables."""
    photos, runs = Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]]
    for run in runs:
        spec, trained = build_spec(config=run), load_file(run / "model.safetensors")
        images = photographs(photos, spec)
        torch.manual_seed(spec.train.seed)
        method, _ = build_method(spec, len(trained["heads.p3.4.bias"]))
        print(f"{run.name}, {len(images)} images\n{'':18}{'mean':>8} {'ends':>8} {'within':>8} {'one cell':>8}")
        for when in ("started", "trained"):
            if when == "trained":
                method.load_state_dict(trained)
            for name, gate in gates(method, images).items():
                print(f"{when} {name:10}{line(gate)}", flush=True)


if __name__ == "__main__":
    main()
