"""Entry point: `python -m app …`, which the launcher `./glassbox` calls."""

import os
import sys


def _have_standard_streams() -> None:
    """Who closed one (`>&-`) wants nothing of it: it is nowhere, and no file that is opened later takes its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


if __name__ == "__main__":
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _have_standard_streams()
    try:
        from app.cli import main

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # before there is a command that could say so
        sys.stderr.write("glassbox: interrupted\n")
        sys.exit(1)
