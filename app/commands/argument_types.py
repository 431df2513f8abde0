"""Types of command-line arguments: text in, value or a usage error out."""

import argparse

from app.numbers import BadNumber, parse_size


def ram_size(text: str) -> int:
    """Argparse type: a size in bytes."""
    try:
        return parse_size(text)
    except BadNumber as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def row_limit(text: str) -> int:
    """Argparse type: how many rows at most; 0 for all."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)


def picture_size(text: str) -> tuple[int, int]:
    """Argparse type: ``1280x720`` as (width, height), each from 64 to 8192."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1280x720")
    size = int(width[:6]), int(height[:6])
    if not all(64 <= side <= 8192 for side in size):
        raise argparse.ArgumentTypeError(f"{text!r}: width and height must be between 64 and 8192")
    return size
