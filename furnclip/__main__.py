"""``python -m furnclip`` and the ``furnclip`` command: run the app, render errors, exit."""

import signal
import sys

from furnclip.errors import ExitCode, FurnclipError


def main() -> None:
    """Run the command line; a ``FurnclipError`` becomes a message and its exit code."""
    from furnclip.cli import app

    # A scheduler's SIGTERM stops a command as Ctrl-C does: what is done is kept and said.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except SystemExit as stop:
        if stop.code == ExitCode.INTERRUPTED:  # Ctrl-C where the command had nothing to say
            from furnclip.console import say

            say("Stopped; run the same command again to go on.")
        raise
    except FurnclipError as error:
        from furnclip.console import render_error

        render_error(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
