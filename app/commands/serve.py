"""`glassbox serve`: the REST interface, for programs of this user on this machine."""

import argparse
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

from app.output import print_json, print_note, print_text
from app.serving.dumps import named_dumps

DEFAULT_PORT = 8734


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: any that is free (%(default)s)")
    parser.add_argument("--dump", type=Path, action="append", default=[], metavar="FILE", help="serve a RAM dump too")
    parser.add_argument("--types", type=Path, metavar="FILE", help="an ISF or vmlinux, for kernels that carry no types")
    parser.add_argument("--follow-input", action="store_true", help="end when standard input does")
    parser.add_argument("--json", action="store_true", help="print address and token's file as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Serve until it is ended. Returns 0; CommandFailed where the port is taken, UsageError."""
    from app.serving.http import HOST, listening, serve
    from app.serving.scenes import open_scene
    from app.serving.tokens import issued_token
    from bridge.semantic.access import Access
    from bridge.semantic.asking import Asking
    from bridge.semantic.audit import AuditLog
    from bridge.semantic.rest.service import make_service

    access = Access(named_dumps(options.dump), types=options.types)
    asking = Asking(access)
    with open_scene(access, asking) as scene, listening(options.port) as listener:
        port = listener.getsockname()[1]
        with issued_token(port) as (token, path):
            url = f"http://{HOST}:{port}"
            if options.json:
                print_json({"url": url, "openapi": f"{url}/openapi.json", "token_file": str(path)})
            else:
                print_text(f"{url}  (its description: /openapi.json)\nThe token is in {path}")
                print_note(f'try: curl -H "Authorization: Bearer $(cat {path})" {url}/machines')
            if options.follow_input:
                threading.Thread(target=_follow_input, name="standard input", daemon=True).start()
            with contextlib.suppress(KeyboardInterrupt):  # the usual way to end it
                serve(make_service(access, asking, scene, AuditLog(), {token: "token"}), listener)
    access.close()
    return 0


def _follow_input() -> None:
    """Ask this process to end once its standard input has: whoever holds it is gone."""
    while sys.stdin.buffer.read(1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
