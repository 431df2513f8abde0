"""Entry point: `python -m app …`, which the launcher `./glassbox` calls."""

import sys

from app.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
