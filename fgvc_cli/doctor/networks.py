"""Which trained weights can be had here, and which preset fits this machine."""

from __future__ import annotations

import threading
from functools import cache

from fgvc_cli.doctor.check import Check

_SECONDS = 4.0  # that all servers together have to answer


def weights() -> list[Check]:
    """Where trained weights are or come from."""
    from fgvc_cli.backbones.choice import HUB, TORCH, choose
    from fgvc_cli.errors import BadRequest
    from fgvc_cli.machine.device import resolve_device

    reached = servers()
    text = "; ".join(f"{host} {'answers' if reached[host] else 'cannot be reached'}" for host in (HUB, TORCH))
    checks = [Check("downloads", "ok" if all(reached.values()) else "note", text)]
    try:
        choice = choose(large=resolve_device("auto").type != "cpu", reached=reached)
        checks.append(Check("weights", "ok", f"{choice.name}: {choice.reason} (--backbone auto)"))
    except BadRequest as error:
        checks.append(Check("weights", "note", str(error)))
    return checks


@cache
def servers() -> dict[str, bool]:
    """Which of the servers that trained weights come from answer."""
    from fgvc_cli.backbones.choice import HUB, TORCH

    return answering(HUB, TORCH)


def answering(*hosts: str) -> dict[str, bool]:
    """Which servers answer, asked all at once. Looking up a name may take longer than any limit, so nobody waits."""
    from fgvc_cli.backbones.choice import answers

    found = dict.fromkeys(hosts, False)

    def ask(host: str) -> None:
        found[host] = answers(host)

    asking = [threading.Thread(target=ask, args=(host,), daemon=True) for host in hosts]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(_SECONDS / len(asking))
    return dict(found)


def preset() -> Check:
    """The most demanding preset for own photos that this machine trains in an hour, by timed steps."""
    from fgvc_cli.training.advice import HOUR, PHOTOS, fitting

    fit = fitting(servers())
    if fit is None:
        return Check("preset", "broken", "no preset for own photos can be trained here")
    minutes = f"about {fit.minutes:.0f} min" if fit.minutes >= 1 else "under a minute"
    text = f"{fit.preset} fits: {minutes} for {PHOTOS:,} photos ({fit.basis}){fit.before}"
    return Check("preset", "ok" if fit.minutes <= HOUR else "note", text)
