"""Where a head looks: its class activation map where it is linear, Grad-CAM where it is not.

Letters: B images, K classes, C channels, h×w a map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.look import Seen
from fgvc_cli.methods.base import Evidence, Head, Output
from fgvc_cli.ops.cam import channel_sum, over_peak

CAM, GRAD_CAM = "CAM", "Grad-CAM"


@dataclass(frozen=True)
class Saliency:
    """One map an image, and what it is."""

    values: Tensor  # (B, h, w) float32: 0..1 per image; of a contrast -1..1
    frame: Tensor  # (B, 4) the box it covers, xyxy in network-input pixels
    kind: str  # CAM or GRAD_CAM: what the picture must say
    classes: Tensor  # (B,) int64, the class it speaks for
    head: str


def saliency(
    seen: Seen, head: str | None = None, classes: Tensor | None = None, against: Tensor | None = None
) -> Saliency:
    """What in a head's map speaks for a class, or for one class rather than another.

    A cell's value is the sum over channels of activation times weight. Of a linear head on global average pooling the
    weights are its own (CAM); of any other they are the gradient of its logit by the channel, summed over positions
    (Grad-CAM). On a linear head both are the same numbers. Without `against` negative values become 0.

    Args:
        seen: with evidence; for a head without a linear weight also with gradients.
        head: which one. None: the one of `explaining_head`.
        classes: (B,) int64 the class to speak for. None: the final prediction's.
        against: (B,) int64 the class that it is told from: the map of logit_classes - logit_against, signed.

    Returns:
        Divided by the largest absolute value of each image; zeros where nothing speaks for the class.

    Raises:
        BadRequest: the method has no such head, or none at all.

    Sources: Zhou et al., https://arxiv.org/abs/1512.04150; Selvaraju et al., Grad-CAM, https://arxiv.org/abs/1610.02391
    """
    output = seen.output
    if output.evidence is None:
        raise ValueError("look at the pictures with evidence=True")
    name = explaining_head(output.evidence, final_branch(output)) if head is None else head
    part = _head(output.evidence, name)
    classes = output.logits.detach().argmax(1) if classes is None else classes
    if part.weight is None:
        kind, kernel = GRAD_CAM, _gradient(output, name, part.map, classes, against)
    else:
        kind, kernel = CAM, _rows(part.weight.detach().float(), classes, against)
    values = channel_sum(part.map.detach(), kernel)
    values = values.relu() if against is None else values
    return Saliency(over_peak(values), part.frame.detach(), kind, classes, name)


def explaining_head(evidence: Evidence, final: str = "final") -> str:
    """The head that shows best what the final prediction rests on.

    The one named like the final branch, where there is one. Where the prediction is a mean of heads or a layer on top
    of several, one of the heads itself must do: those with a linear weight come first (their map is exact), then those
    with the coarsest map (the deepest, as Grad-CAM is used), then the first that the method names, which is
    the one that sees the whole image. It never depends on the image.

    Raises:
        BadRequest: the method has no head.
    """
    if final in evidence.heads:
        return final
    if not evidence.heads:
        raise BadRequest("this method hands over no head's map, so there is nothing to draw a CAM of")
    cells = {name: head.map.shape[2] * head.map.shape[3] for name, head in evidence.heads.items()}
    return min(cells, key=lambda name: (evidence.heads[name].weight is None, cells[name]))  # the first of equal ones


def final_branch(output: Output) -> str:
    """Name of the branch that is the prediction; `final` where none is."""
    return next((name for name, logits in output.branches.items() if logits is output.logits), "final")


def _head(evidence: Evidence, name: str) -> Head:
    if name not in evidence.heads:
        raise BadRequest(f"no head is called {name!r}; there are: {', '.join(evidence.heads) or 'none'}")
    return evidence.heads[name]


def _rows(weight: Tensor, classes: Tensor, against: Tensor | None) -> Tensor:
    """(K, C) → (B, C): w_A, or w_A - w_B."""
    return weight[classes] if against is None else weight[classes] - weight[against]


def _gradient(output: Output, name: str, features: Tensor, classes: Tensor, against: Tensor | None) -> Tensor:
    """(B, C) fp32: gradient of each image's logit by its channels, summed over positions.

    One backward pass for all images: in evaluation none touches another. Grad-CAM takes the mean over positions, which
    differs by a factor that the division by the peak removes; the sum is a linear head's own weight.
    """
    logits = output.branches.get(name, output.logits).float()
    if not logits.requires_grad:
        raise ValueError("look at the pictures with gradients=True: this head has no linear weight")
    wanted = logits.gather(1, classes[:, None])
    if against is not None:
        wanted = wanted - logits.gather(1, against[:, None])
    (gradient,) = torch.autograd.grad(wanted.sum(), features, retain_graph=True)
    return gradient.float().sum((2, 3))
