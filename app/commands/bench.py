"""`glassbox bench`: measure on this machine, and hold each figure against its bar."""

import argparse
import importlib

from app.failures import UsageError
from app.output import print_json, print_text

_BENCHMARKS = {
    name: f"app.benchmarks.{name}"
    for name in ("memory", "render", "window", "introspect", "ask", "store", "search", "overlay", "trace", "pixel")
}


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("bench", choices=list(_BENCHMARKS), help="what to measure")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--part", metavar="PART", help="measure one part alone (introspect: symbols, looks, overlay, …)"
    )
    parser.add_argument(
        "--peers", action="store_true", help="first install the programs that are compared with (./glassbox does it)"
    )


def run(options: argparse.Namespace) -> int:
    """Run one benchmark and print its report. Returns 0 whether or not the bars are met: a figure is a fact."""
    benchmark = importlib.import_module(_BENCHMARKS[options.bench])
    parts = getattr(benchmark, "PARTS", ())
    if options.part is None:
        report = benchmark.run()
    elif options.part in parts:
        report = benchmark.run(parts=(options.part,))
    else:
        known = f"has {', '.join(parts)}" if parts else "is measured as a whole"
        raise UsageError(f"bench {options.bench} has no part {options.part!r}: it {known}")
    if options.json:
        print_json(report.as_json())
    else:
        print_text(report.as_text())
    return 0
