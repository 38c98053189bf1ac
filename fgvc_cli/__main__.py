"""The program `fgvc`, also `python -m fgvc_cli`: from its first line on, a signal is one line and exit code 130."""

import os
import signal


def _leave(number: int, frame: object) -> None:
    os.write(2, b"fgvc: interrupted\n")
    os._exit(130)


# Until the handler of `machine.interrupt` is loaded. Nothing was started yet, so nothing is cleaned up.
signal.signal(signal.SIGINT, _leave)
signal.signal(signal.SIGTERM, _leave)


def main() -> None:
    """Run the command line, then leave with its exit code."""
    from fgvc_cli.machine import interrupt

    interrupt.obey()
    code = 1  # of an error that `--debug` shows
    try:
        from fgvc_cli.cli.main import main as run

        run()
    except KeyboardInterrupt:  # while the command's error was being reported
        interrupt.leave()
    except SystemExit as end:
        code = int(end.code or 0)
        raise
    finally:
        interrupt.finish(code)


if __name__ == "__main__":
    main()
