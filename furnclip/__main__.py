"""``python -m furnclip`` and the ``furnclip`` command: run the app, render errors, exit."""

import sys

from furnclip.errors import FurnclipError


def main() -> None:
    """Run the command line; a ``FurnclipError`` becomes a message and its exit code."""
    from furnclip.cli import app

    try:
        app()
    except FurnclipError as error:
        from furnclip.console import render_error

        render_error(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
