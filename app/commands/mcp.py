"""`glassbox mcp`: an MCP server on standard input and output, for programs that let language models use tools."""

import argparse
import sys
from pathlib import Path

from app.serving.dumps import named_dumps


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("--dump", type=Path, action="append", default=[], metavar="FILE", help="serve a RAM dump too")
    parser.add_argument("--types", type=Path, metavar="FILE", help="an ISF or vmlinux, for kernels that carry no types")
    parser.add_argument(
        "--allow-control", action="store_true", help="let the model pause, resume, reset and stop machines"
    )


def run(options: argparse.Namespace) -> int:
    """Serve until standard input ends. Returns 0; UsageError."""
    from app.serving.scenes import open_scene
    from bridge.semantic.access import Access
    from bridge.semantic.asking import Asking
    from bridge.semantic.audit import AuditLog
    from bridge.semantic.mcp.server import make_server

    access = Access(named_dumps(options.dump), types=options.types)
    asking = Asking(access)
    with open_scene(access, asking) as scene:
        server = make_server(access, asking, scene, AuditLog(), control=options.allow_control)
        server.run("stdio")
    access.close()
    sys.stderr.flush()
    return 0
