"""Heat maps of a classification head: its class activation map if it is linear, else Grad-CAM.

Letters: B images, K classes, C channels, h×w a map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.look import Seen
from fgvc_cli.methods.base import Evidence, Head, Output
from fgvc_cli.ops.cam import channel_sum, over_peak, says_where

CAM, GRAD_CAM = "CAM", "Grad-CAM"


@dataclass(frozen=True)
class Saliency:
    """One map per image, and what it is."""

    values: Tensor  # (B, h, w) float32: 0..1 per image, or -1..1 with `against`
    frame: Tensor  # (B, 4) the box it covers, xyxy in network-input pixels
    kind: str  # CAM or GRAD_CAM, which the picture must name
    classes: Tensor  # (B,) int64, the class of each map
    head: str

    def speaks(self, position: int) -> bool:
        """Whether the map of an image points at something in it."""
        return bool(says_where(self.values[position][None]))


def saliency(
    seen: Seen, head: str | None = None, classes: Tensor | None = None, against: Tensor | None = None
) -> Saliency:
    """The map of evidence for a class, or for one class against another, from a head's feature map.

    A cell's value is the sum over channels of activation times weight. For a linear head on global average pooling the
    weights are the layer's (CAM). For any other head they are the gradients of its logit with respect to the channel,
    summed over positions (Grad-CAM). For a linear head both are equal. Without `against` negative values become 0.

    Args:
        seen: the batch with evidence, and with gradients for a head without a linear weight.
        head: the head's name. None: `explaining_head`.
        classes: (B,) int64, the class of each map. None: the predicted one.
        against: (B,) int64, the class to compare with: the signed map of logit_classes - logit_against.

    Returns:
        The maps, divided by the largest absolute value of each image; all zeros if there is no evidence for the class.

    Raises:
        BadRequest: the method has no such head, or none at all.

    Sources: Zhou et al., https://arxiv.org/abs/1512.04150; Selvaraju et al., Grad-CAM, https://arxiv.org/abs/1610.02391
    """
    output = seen.output
    if output.evidence is None:
        raise ValueError("call look() with evidence=True")
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
    """The head that best explains the final prediction.

    It is the head with the name of the final branch, if there is one. If the prediction is a mean of heads, or a layer
    on top of several, one of these heads is taken. Heads with a linear weight have priority (their map is exact), then
    heads with the coarsest map (the deepest layer, as usual for Grad-CAM), then the first head that the method names,
    which receives the whole image. The choice never depends on the image.

    Raises:
        BadRequest: the method has no head.
    """
    if final in evidence.heads:
        return final
    if not evidence.heads:
        raise BadRequest("this method provides no classification head with a feature map, so no CAM can be drawn")
    cells = {name: head.map.shape[2] * head.map.shape[3] for name, head in evidence.heads.items()}
    return min(cells, key=lambda name: (evidence.heads[name].weight is None, cells[name]))  # the first one among equals


def final_branch(output: Output) -> str:
    """The name of the branch whose logits are the prediction; `final` if there is none."""
    return next((name for name, logits in output.branches.items() if logits is output.logits), "final")


def _head(evidence: Evidence, name: str) -> Head:
    if name not in evidence.heads:
        raise BadRequest(f"there is no head {name!r}; the heads are: {', '.join(evidence.heads) or 'none'}")
    return evidence.heads[name]


def _rows(weight: Tensor, classes: Tensor, against: Tensor | None) -> Tensor:
    """(K, C) → (B, C): w_A, or w_A - w_B."""
    return weight[classes] if against is None else weight[classes] - weight[against]


def _gradient(output: Output, name: str, features: Tensor, classes: Tensor, against: Tensor | None) -> Tensor:
    """(B, C) fp32: gradient of each image's logit with respect to its channels, summed over positions.

    One backward pass serves all images, as in evaluation mode no image affects another. Grad-CAM takes the mean over
    positions. It differs from the sum by a factor that the division by the peak removes; for a linear head the sum
    equals the layer's weight.
    """
    logits = output.branches.get(name, output.logits).float()
    if not logits.requires_grad:
        raise ValueError("call look() with gradients=True: this head has no linear weight")
    wanted = logits.gather(1, classes[:, None])
    if against is not None:
        wanted = wanted - logits.gather(1, against[:, None])
    (gradient,) = torch.autograd.grad(wanted.sum(), features, retain_graph=True)
    return gradient.float().sum((2, 3))
