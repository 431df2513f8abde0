"""Compiled loops: numba, with what it compiled kept between runs, and the few vector instructions that it lacks.

The window's frame loop must never wait for a compiler: `python -m render.warm_up` fills the cache when the program is
set up, and `render/classify.py` loads from it in a thread of its own.
"""
# ruff: noqa: ARG001 - numba calls these with typing and code generation contexts, and matches arguments by name

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")

_HERE = Path(__file__).parent
_SOURCES = ("compiled", "classify", "content")
"""What the kept code depends on."""

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_types: Any = types
_cgutils: Any = cgutils


def kept_code_dir() -> Path:
    """Where compiled code is kept: beside the source or, where that cannot be written, in the user's cache.

    Its name changes with the sources, because numba looks only at the file in which a function stands and would go on
    using old code after another one changed.
    """
    sources = b"".join((_HERE / f"{name}.py").read_bytes() for name in _SOURCES)
    if os.access(_HERE, os.W_OK):
        base = _HERE / "__pycache__"
    else:
        cache = os.environ.get("XDG_CACHE_HOME", "")
        base = (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "glassbox" / "compiled"
    return base / f"render-loops-{hashlib.sha256(sources).hexdigest()[:16]}"


def forget_old_code() -> None:
    """Remove what was kept of earlier versions."""
    current = kept_code_dir()
    for other in current.parent.glob("render-loops-*"):
        if other != current:
            shutil.rmtree(other, ignore_errors=True)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile with numba, without the interpreter's lock, and keep the result where there is a directory for it."""
    loop: Any = numba.njit(nogil=True)(function)
    configuration: Any = numba.config
    lock: Any = global_compiler_lock
    # The setting is the process's, and others compile in other threads. Nothing is compiled or loaded under the lock:
    # numba waits for it while it holds others.
    with lock:
        before = configuration.CACHE_DIR
        try:
            configuration.CACHE_DIR = str(kept_code_dir())
            loop.enable_caching()
        except (RuntimeError, OSError):
            pass  # no directory can be written to: compile anew in each run
        finally:
            configuration.CACHE_DIR = before
    return cast(Callable[P, R], loop)


def _vector(builder: Any, address: Any, lane: Any, lanes: int) -> Any:
    return builder.load(builder.inttoptr(address, ir.VectorType(lane, lanes).as_pointer()), align=8)


def _llvm(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(_cgutils.get_or_insert_function(builder.module, kind, name), list(arguments))


def _same(value: Any, lane: Any, lanes: int) -> Any:
    return ir.Constant(ir.VectorType(lane, lanes), [value] * lanes)


def _cell_facts(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        octets = _vector(builder, arguments[0], _I8, 64)
        mask = builder.bitcast(builder.icmp_unsigned("!=", octets, _same(0, _I8, 64)), _I64)
        total = _llvm(builder, "llvm.vector.reduce.add.v64i16", _I16, builder.zext(octets, ir.VectorType(_I16, 64)))
        highest = _llvm(builder, "llvm.vector.reduce.umax.v64i8", _I8, octets)
        # Addresses: kernel ones have ffff.... above and are not small negative numbers, user ones 00007f......
        high = builder.trunc(
            builder.lshr(_vector(builder, arguments[0], _I64, 8), _same(32, _I64, 8)), ir.VectorType(_I32, 8)
        )
        kernel = builder.and_(
            builder.icmp_unsigned(">=", high, _same(0xFFFF0000, _I32, 8)),
            builder.icmp_unsigned("<", high, _same(0xFFFFFFF0, _I32, 8)),
        )
        user = builder.icmp_unsigned("==", builder.lshr(high, _same(8, _I32, 8)), _same(0x7F, _I32, 8))
        pointers = _llvm(builder, "llvm.ctpop.i8", _I8, builder.bitcast(builder.or_(kernel, user), _I8))
        values = [mask, *(builder.zext(value, _I64) for value in (total, highest, pointers))]
        return context.make_tuple(builder, signature.return_type, values)

    return _types.UniTuple(_types.uint64, 4)(_types.uintp), generate


def _count_bits(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _llvm(builder, "llvm.ctpop.i64", _I64, arguments[0])

    return _types.uint64(_types.uint64), generate


def _first_bit(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _llvm(builder, "llvm.cttz.i64", _I64, arguments[0], ir.Constant(_I1, 0))

    return _types.uint64(_types.uint64), generate


def _octet(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.load(builder.inttoptr(arguments[0], _I8.as_pointer())), _I64)

    return _types.uint64(_types.uintp), generate


def _word(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _I64.as_pointer()), align=8)

    return _types.uint64(_types.uintp), generate


def _any_bits(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _llvm(builder, "llvm.vector.reduce.or.v64i64", _I64, _vector(builder, arguments[0], _I64, 64))

    return _types.uint64(_types.uintp), generate


def _copy_octets(typing_context: Any, target: Any, source: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _I8.as_pointer()
        target, source = (builder.inttoptr(argument, pointer) for argument in arguments[:2])
        _cgutils.raw_memcpy(builder, target, source, arguments[2], 1)
        return context.get_dummy_value()

    return _types.void(_types.uintp, _types.uintp, _types.intp), generate


_U64 = Any
"""numba's uint64; to Python's eyes an int that behaves."""

# The 64 bytes at an address -> (a bit for each that is not zero, their sum, the highest, how many of the 8 words look
# like addresses).
cell_facts: Callable[[_U64], tuple[_U64, _U64, _U64, _U64]] = cast(Any, intrinsic)(_cell_facts)
count_bits: Callable[[_U64], _U64] = cast(Any, intrinsic)(_count_bits)
# The place of the lowest bit that is set; 64 where none is.
first_bit: Callable[[_U64], _U64] = cast(Any, intrinsic)(_first_bit)
octet: Callable[[_U64], _U64] = cast(Any, intrinsic)(_octet)
word: Callable[[_U64], _U64] = cast(Any, intrinsic)(_word)
# The bits that are set in any of the 64 words (512 bytes) at an address.
any_bits: Callable[[_U64], _U64] = cast(Any, intrinsic)(_any_bits)
copy_octets: Callable[[_U64, _U64, int], None] = cast(Any, intrinsic)(_copy_octets)
