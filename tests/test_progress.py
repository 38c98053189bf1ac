"""Progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

from fgvc_cli import progress
from fgvc_cli.progress import Reporter
from fgvc_cli.terminal import Console


def test_plain_lines_without_a_terminal(monkeypatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    text = io.StringIO()
    reporter = Reporter(Console(file=text, width=300))
    reporter.begin("epoch 1/2", 4)
    reporter.advance(8)
    reporter.facts({"loss": 1.5, "ran": 0.5})
    reporter.end()
    line = text.getvalue()
    assert "epoch 1/2  1/4" in line
    assert "images/s  loss 1.5  ran 0.5" in line
    assert "\x1b" not in line


def test_a_bar_on_a_terminal() -> None:
    text = io.StringIO()
    reporter = Reporter(Console(file=text, force_terminal=True, width=120))
    reporter.begin("epoch 1/2", 4)
    reporter.advance(8)
    reporter.facts({"loss": 1.5})
    reporter.end()
    assert "loss 1.5" in text.getvalue()
