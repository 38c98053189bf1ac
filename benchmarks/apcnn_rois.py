"""ROI selection of AP-CNN: the whole batch at once against image by image, same anchors, same maths.

    python benchmarks/apcnn_rois.py [--rounds 8] [--threads 2] [--device cpu]

Both sides score the anchors of three levels at 448 pixels, drop those under the map's mean and keep 5, 3 and
1 of them by NMS at 0.05. The per-image side uses torchvision.ops.nms, its anchors made once beforehand. First it is
seen that both select the same boxes; then the two alternate, and the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import nms

from fgvc_cli.methods.apcnn.rois import RoiPyramid
from fgvc_cli.ops.anchors import inside
from fgvc_cli.spec.methods.apcnn import ApCnnSpec

IMAGE = (448, 448)
MAPS = [(56, 56), (28, 28), (14, 14)]


def image_by_image(gates: list[Tensor], anchors: list[Tensor], pyramid: RoiPyramid) -> list[list[Tensor]]:
    """Boxes of each level and image, (≤ k, 4) each."""
    spec, found = pyramid.spec, []
    for level, gate in enumerate(gates):
        rows, columns = pyramid.spans((gate.shape[2], gate.shape[3]))
        of_level = []
        for one in gate:
            inner = one[0, rows.start : rows.stop, columns.start : columns.stop].flatten()
            candidates = inner > inner.sum() / one.numel()
            boxes, scores = anchors[level][candidates], inner[candidates]
            of_level.append(inside(boxes[nms(boxes, scores, spec.nms_iou)[: spec.top_k[level]]], IMAGE))
        found.append(of_level)
    return found


def same(batched: list[Tensor], masks: list[Tensor], single: list[list[Tensor]]) -> bool:
    """Whether both sides selected the same boxes in the same order."""
    return all(
        torch.equal(boxes[b][mask[b]], single[level][b])
        for level, (boxes, mask) in enumerate(zip(batched, masks, strict=True))
        for b in range(len(boxes))
    )


def wait(device: str) -> None:
    """Until the device has done what was asked."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], repeats: int, device: str) -> float:
    """Of the fastest of some calls."""
    best = float("inf")
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        best = min(best, time.perf_counter() - start)
    return best


def compare(batch: int, rounds: int, border: float, device: str) -> str:
    """One line: best times, ratio of the bests, ratios' range over the rounds."""
    pyramid = RoiPyramid(ApCnnSpec(border=border), (8, 16, 32), MAPS, IMAGE[0]).to(device)
    torch.manual_seed(0)
    gates = [torch.randn(batch, 1, *size, device=device).sigmoid() for size in MAPS]
    anchors = [pyramid.candidates(level, size, IMAGE, torch.device(device)) for level, size in enumerate(MAPS)]
    rois = pyramid.of_gates(gates, IMAGE)
    assert same([r.boxes for r in rois], [r.valid for r in rois], image_by_image(gates, anchors, pyramid))
    fast, slow = [], []
    for _ in range(rounds + 1):  # the first warms up
        slow.append(seconds(lambda: image_by_image(gates, anchors, pyramid), 10, device))
        fast.append(seconds(lambda: pyramid.of_gates(gates, IMAGE), 10, device))
    fast, slow = fast[1:], slow[1:]
    ratios = sorted(s / f for s, f in zip(slow, fast, strict=True))
    times = f"{min(slow) * 1e3:8.2f} ms {min(fast) * 1e3:8.2f} ms"
    return f"B={batch:3} border={border} {times}  {min(slow) / min(fast):5.1f}x  ({ratios[0]:.1f} to {ratios[-1]:.1f})"


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"torch {torch.__version__}, {args.device}, {args.threads} threads: image by image, batched, ratio of the bests"
    )
    for border in (0.1, 0.2):
        for batch in (4, 16):
            print(compare(batch, args.rounds, border, args.device), flush=True)


if __name__ == "__main__":
    main()
