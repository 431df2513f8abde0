"""`glassbox doctor`: every ingredient with its version, whether it is good enough, and the fix."""

import argparse

from app import doctor


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Run all checks and return 0, or 4 when one fails."""
    return doctor.main(json=options.json)
