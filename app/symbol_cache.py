"""What the user is told of the symbol cache, and how it is emptied: `symbols --clear-cache`, and `doctor`'s line."""

import argparse

from app.failures import UsageError
from app.output import format_bytes, print_json, print_text
from bridge.kernel.symbol_cache import LIMIT_BYTES, SWITCH, Usage, is_turned_off, open_users_cache
from bridge.machine.errors import UnsafeDirectory


def clear_symbol_cache(options: argparse.Namespace) -> None:
    """Empty it and say so. Raises UsageError, OSError, UnsafeDirectory."""
    if options.name is not None or options.dump is not None or options.isf is not None:
        raise UsageError("--clear-cache stands alone: it reads no machine and no dump")
    usage = open_users_cache().clear()
    if options.json:
        document = {"directory": str(usage.directory), "removed": usage.n_entries, "size_bytes": usage.size_bytes}
        print_json(document)
        return
    print_text(f"{usage.directory}: {_kernels(usage)} forgotten")


def describe_symbol_cache() -> str:
    """Where it is and how full, or why there is none."""
    try:
        usage = open_users_cache().usage()
    except UnsafeDirectory as error:
        return f"none, symbols are decoded each time: {error.path}: {error.found}"
    except OSError as error:
        return f"none, symbols are decoded each time: {error.filename}: {error.strerror}"
    off = f"turned off by {SWITCH}; " if is_turned_off() else ""
    return f"{off}{_kernels(usage)} of {format_bytes(LIMIT_BYTES)} in {usage.directory}"


def _kernels(usage: Usage) -> str:
    return f"{usage.n_entries} kernel{'' if usage.n_entries == 1 else 's'}, {format_bytes(usage.size_bytes)}"
