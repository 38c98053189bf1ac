"""All checks, one after the other. Nothing here imports PyTorch, which may be what is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fgvc_cli.doctor import images, machine, networks, software
from fgvc_cli.doctor.check import Check
from fgvc_cli.errors import FgvcError

Look = Callable[[], Check | Sequence[Check]]


def examine(looks: Sequence[tuple[str, Look]]) -> Iterator[Check]:
    """The checks as they are made. One that fails is broken, by its error, and ends no other."""
    said: dict[str, str] = {}  # a reason → the first check that it broke
    for name, look in looks:
        try:
            found = look()
        except Exception as error:  # whatever is wrong with a machine
            reason = _line(error)
            first = said.setdefault(reason, name)
            found = Check(name, "broken", reason if first == name else f"for the same reason as {first}")
        yield from [found] if isinstance(found, Check) else found


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, FgvcError) else f"{type(error).__name__}: {text}"


def every_check() -> list[tuple[str, Look]]:
    """All of them by name, those that others need first."""
    return [
        ("fgvc", software.fgvc),
        ("torch", software.pytorch),
        ("device", machine.device),
        ("threads", machine.threads),
        ("images", images.formats),
        ("opencv", images.opencv),
        ("disk", machine.disk),
        ("shared memory", machine.shared),
        ("extras", software.extras),
        ("weights", networks.weights),
        ("preset", networks.preset),
        ("completion", software.completion),
    ]
