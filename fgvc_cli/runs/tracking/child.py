"""The process that talks to a tracker: python -m fgvc_cli.runs.tracking.child MODULE:CLASS FILE.

Reads messages from stdin, one JSON list a line: a method of the tracker and its arguments. Without a last `finish`, the
process that sent them is gone. FILE keeps the id under which the tracker knows the run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fgvc_cli.files import write_json
from fgvc_cli.runs.tracking.trackers import Start, Tracker, made
from fgvc_cli.streams import tell


def main() -> int:
    """Obey until the end of stdin. The exit code is 1 after an error, whose line is the last on stderr."""
    try:
        _obey(made(sys.argv[1]), Path(sys.argv[2]))
    except BaseException as error:
        text = " ".join(str(error).split())
        tell(f"{type(error).__name__}: {text}" if text else type(error).__name__)
        return 1
    return 0


def _obey(tracker: Tracker, file: Path) -> None:
    ended = False
    for line in sys.stdin:
        what, *given = json.loads(line)
        if what == "start":
            started = tracker.start(Start(**given[0]))
            write_json(file, {"id": started.id, "where": started.where})
        elif what == "scalars":
            tracker.scalars(*given)
        elif what == "pictures":
            tracker.pictures({name: Path(path) for name, path in given[0].items()}, given[1])
        else:
            ended = True
            tracker.finish(given[0])
    if not ended:
        tracker.finish("stopped")


if __name__ == "__main__":
    sys.exit(main())
