"""Starting weights from another run: all tensors that fit, those of a class for the class of the same name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fgvc_cli.data.alike import Alike
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods.base import Method

Names = tuple[str, ...]
Axes = dict[str, tuple[int, ...]]  # state-dict key → the axes that are divided among the classes


def load_run_weights(
    method: Method,
    tensors: Mapping[str, Tensor],
    *,
    same_method: bool,
    classes: tuple[Names, Names | None] | None = None,
    build: Callable[[int], Method] | None = None,
) -> list[str]:
    """Copy a run's tensors into a method; returns notes on what was not loaded, one line each.

    Args:
        method: receives the tensors, in place.
        tensors: the run's state dict.
        same_method: true: load every tensor whose name and shape match; false: only those of `backbone.*`.
        classes: the method's class names and the run's (None: it names none). If they differ, what belongs to a class
            is loaded for the class of the same name; new classes keep their random start. None: all by position.
        build: K → the same method for K classes; needed with `classes`.

    Raises:
        BadRequest: no tensor fits.
    """
    own = method.state_dict()
    offered = {key: value for key, value in tensors.items() if same_method or key.startswith("backbone.")}
    match = None
    if classes is not None and classes[0] != classes[1]:
        assert build is not None
        match = _ClassMatch.of(*classes, class_axes(build, len(classes[0])), named=same_method)
    bound = match.axes if match else {}
    fitting = {k: v for k, v in offered.items() if k in own and k not in bound and own[k].shape == v.shape}
    if not fitting:
        raise BadRequest("weights: no tensor of that run fits: it has a different backbone")
    with torch.no_grad():
        for key, value in fitting.items():
            own[key].copy_(value)
        by_class = {key for key in bound if key in offered and match and match.copy(key, own[key], offered[key])}
    taken = set(fitting) | by_class
    left, fresh = _modules(set(tensors) - taken), _modules(set(own) - taken)
    return [
        *([f"not loaded from the run's weights: {', '.join(left)}"] if left else []),
        *([f"missing in the run's weights: {', '.join(fresh)}"] if fresh and same_method else []),
        *([match.note()] if match and bound else []),
    ]


def class_axes(build: Callable[[int], Method], num_classes: int) -> Axes:
    """The axes of a method's tensors that are divided among the classes: those whose size depends on their number.

    Equal contiguous parts belong to the classes in label order: a row of a classifier, a class's channels of TDSA-Loss
    with all that is computed from them. Channels of a fixed number that are divided among the classes do not count: the
    backbone's other layers depend on their order. Nothing is computed (meta device), no random number is drawn.
    """
    one = _shapes(build, num_classes)
    found: Axes = {}
    unseen, count = set(one), num_classes
    # With one class more an adapter may be superfluous, if its width equals the map's own by chance: then go on.
    while unseen:
        count += 1
        more = _shapes(build, count)
        for key in unseen & set(more):
            sizes = enumerate(zip(one[key], more[key], strict=True))
            found[key] = tuple(i for i, (size, other) in sizes if _grows(size, other, num_classes, count))
        unseen -= set(more)
    return {key: axes for key, axes in found.items() if axes}


def _shapes(build: Callable[[int], Method], num_classes: int) -> dict[str, torch.Size]:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return {key: value.shape for key, value in build(num_classes).state_dict().items()}


def _grows(size: int, other: int, num_classes: int, other_classes: int) -> bool:
    """Whether sizes for two numbers of classes differ and each is a multiple of its number."""
    return size != other and size % num_classes == 0 and other % other_classes == 0


@dataclass(frozen=True)
class _ClassMatch:
    """Which class of a run each class of a method starts from."""

    classes: Names
    given: Names
    places: tuple[tuple[int, int], ...]  # of the shared classes: label in the method, label in the run
    axes: Axes

    @classmethod
    def of(cls, classes: Names, given: Names | None, axes: Axes, *, named: bool) -> _ClassMatch:
        """By name. `named` false: the run is of another method, so nothing in its backbone belongs to a class."""
        label_of = {name: label for label, name in enumerate(given or ())}
        alike = Alike(label_of)
        found = [(label, alike.find(name)) for label, name in enumerate(classes)] if named else []
        places = tuple((label, label_of[name]) for label, name in found if name is not None)
        return cls(classes, given or (), places, axes)

    def copy(self, key: str, own: Tensor, given: Tensor) -> bool:
        """Copy the parts of the shared classes in place; false if the tensors do not fit otherwise."""
        axes = self.axes[key]
        if not self.places or own.dim() != given.dim():
            return False
        to, of = [], []
        for axis, (size, other) in enumerate(zip(own.shape, given.shape, strict=True)):
            if axis not in axes:
                if size != other:
                    return False
                to.append(torch.arange(size))
                of.append(torch.arange(size))
                continue
            if other % len(self.given):
                return False
            width, other_width = size // len(self.classes), other // len(self.given)
            part = torch.arange(min(width, other_width))
            to.append(torch.cat([label * width + part for label, _ in self.places]))
            of.append(torch.cat([label * other_width + part for _, label in self.places]))
        own[_grid(to)] = given[_grid(of)].to(own)
        return True

    def note(self) -> str:
        """What the user should know: which classes start from the run's weights."""
        if not self.given:
            return "that run does not name its classes: what belongs to a class starts anew"
        if not self.places:
            return "what belongs to a class starts anew: no class of that run has one of these names"
        known = {label for label, _ in self.places}
        new = [name for label, name in enumerate(self.classes) if label not in known]
        shared = f"{len(known)} of {len(self.classes)} classes start from that run's weights of their name"
        names = _few(self.classes[label] for label in sorted(known))
        return f"{shared} ({names})" + (f"; new: {_few(new)}" if new else "")


def _grid(indices: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Index tensors that select a block: one per axis, shaped to broadcast against the others."""
    last = len(indices) - 1
    return tuple(index.view(-1, *[1] * (last - axis)) for axis, index in enumerate(indices))


def _few(names: Iterable[str], show: int = 4) -> str:
    """The first few names, and the number of the others."""
    listed = list(names)
    more = f" and {len(listed) - show} more" if len(listed) > show else ""
    return ", ".join(listed[:show]) + more


def _modules(keys: set[str]) -> list[str]:
    """The modules that state-dict keys belong to; a whole backbone counts as one module."""
    return sorted({re.sub(r"\bbackbone\..*", "backbone", key.rpartition(".")[0]) for key in keys})
