"""`symbols --isf FILE`: a kernel's symbols and types for Volatility 3, and how to use them there."""

import argparse
import shlex
from pathlib import Path

from app.failures import UsageError
from app.kernel_source import KernelSource
from app.output import format_bytes, print_json, print_text
from bridge.kernel.isf import SUFFIXES, save_isf


def add_isf_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--isf FILE`."""
    parser.add_argument(
        "--isf", type=Path, metavar="FILE", help="write symbols and types for Volatility 3 instead (FILE.json.xz)"
    )


def export_isf(source: KernelSource, path: Path, *, as_json: bool) -> None:
    """Write the ISF of the source's kernel to `path` and say so. Raises UsageError, KernelError, OSError."""
    if not path.name.endswith(SUFFIXES):
        raise UsageError(
            f"{path.name!r} must end in one of {', '.join(SUFFIXES)}, by which Volatility knows the format"
        )
    save_isf(source.kernel, path)
    size = path.stat().st_size
    # Volatility up to 2.28 reads four levels only, and shows empty lists instead of saying so.
    stock_reads = source.kernel.levels == 4
    if as_json:
        document = {"source": source.name, "release": source.kernel.release, "build_id": source.kernel.build_id}
        print_json({**document, "isf": str(path), "size_bytes": size, "levels": source.kernel.levels})
        return
    print_text(f"{path}: {format_bytes(size)}, symbols and types of {source.kernel.release}")
    if stock_reads:
        print_text(f"use it: vol -s {shlex.quote(str(path.absolute().parent))} -f DUMP linux.pslist")
    else:
        print_text("this machine has 5-level page tables, which stock vol cannot read; `glassbox vol` can")
