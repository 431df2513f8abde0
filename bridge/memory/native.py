"""What compiled loops need and numba lacks: ordered loads and stores, wide arithmetic, prefetch, two system calls.

Threads meet in plain arrays here. Without these, LLVM may move an ordinary store across the loop before it, and on
other processors than x86 the machine may as well. On x86, where loads are not reordered with loads nor stores with
stores (Intel SDM vol. 3A, "Memory ordering"), they cost nothing beyond holding the compiler.

The arithmetic is written out as instructions too: left to itself, LLVM makes it half as fast as memory, or not,
depending on what stands around the loop.
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
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from bridge.machine.directories import cache_dir

P = ParamSpec("P")
R = TypeVar("R")

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_I128 = ir.IntType(128)
_types: Any = types

# What the kept code depends on.
_SOURCES = ("native", "scan", "shadow", "physical_map")

PRODUCT_WORDS = 16
VECTOR_WORDS = 64


def kept_code_dir() -> Path:
    """Where compiled code is kept between runs: beside the source or, where that cannot be written, in the cache.

    Its name changes with every source that the loops are made of. Numba itself looks at the one file only in which a
    function stands, and would go on using old code after an update of another.
    """
    here = Path(__file__).parent
    sources = b"".join((here / f"{name}.py").read_bytes() for name in _SOURCES)
    base = here / "__pycache__" if os.access(here, os.W_OK) else cache_dir() / "compiled"
    return base / f"loops-{hashlib.sha256(sources).hexdigest()[:16]}"


def forget_old_code() -> None:
    """Removes what was kept of earlier versions."""
    current = kept_code_dir()
    for other in current.parent.glob("loops-*"):
        if other != current:
            shutil.rmtree(other, ignore_errors=True)


def compiled(*, nogil: bool) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compiles with numba, and keeps the result between runs where there is a directory to keep it in."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        loop: Any = numba.njit(nogil=nogil)(function)
        configuration: Any = numba.config
        lock: Any = global_compiler_lock
        # The setting is the process's, and others compile in other threads. Nothing is compiled or loaded under the
        # lock: numba waits for it while it holds others.
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

    return decorate


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a helper into the compiled functions that use it: a call would count references to every array of its
    arguments, which takes longer than to compare a page.
    """
    return cast(Callable[P, R], numba.njit(inline="always")(function))


def _load_acquire_u32(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], _I32.as_pointer()), "acquire", 4)

    return _types.uint32(_types.uintp), generate


def _store_release_u32(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], builder.inttoptr(arguments[0], _I32.as_pointer()), "release", 4)
        return context.get_dummy_value()

    return _types.void(_types.uintp, _types.uint32), generate


def _fence(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("acq_rel")
        return context.get_dummy_value()

    return _types.void(), generate


def _add_products(typing_context: Any, low: Any, high: Any, words: Any, key: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        low, high = (builder.zext(argument, _I128) for argument in arguments[:2])
        total = builder.or_(low, builder.shl(high, _I128(64)))
        words, key = (builder.inttoptr(argument, _I64.as_pointer()) for argument in arguments[2:])

        def keyed(index: int) -> Any:
            place = [_I32(index)]
            word = builder.load(builder.gep(words, place), align=8)
            return builder.zext(builder.add(word, builder.load(builder.gep(key, place), align=8)), _I128)

        for index in range(0, PRODUCT_WORDS, 2):
            total = builder.add(total, builder.mul(keyed(index), keyed(index + 1)))
        halves = [builder.trunc(total, _I64), builder.trunc(builder.lshr(total, _I128(64)), _I64)]
        return context.make_tuple(builder, signature.return_type, halves)

    half, address = _types.uint64, _types.uintp
    return _types.UniTuple(half, 2)(half, half, address, address), generate


def _any_bits(typing_context: Any, words: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _or_of_lanes(builder, _load_vector(builder, arguments[0]))

    return _types.uint64(_types.uintp), generate


def _differing_bits(typing_context: Any, words: Any, others: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, others = (_load_vector(builder, argument) for argument in arguments)
        return _or_of_lanes(builder, builder.xor(words, others))

    return _types.uint64(_types.uintp, _types.uintp), generate


def _load_vector(builder: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, ir.VectorType(_I64, VECTOR_WORDS).as_pointer()), align=8)


def _or_of_lanes(builder: Any, vector: Any) -> Any:
    name = f"llvm.vector.reduce.or.v{VECTOR_WORDS}i64"
    function = cast(Any, cgutils).get_or_insert_function(
        builder.module, ir.FunctionType(_I64, [ir.VectorType(_I64, VECTOR_WORDS)]), name
    )
    return builder.call(function, [vector])


def _prefetch(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
        function = cast(Any, cgutils).get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # For reading, into all cache levels, data.
        builder.call(function, [builder.inttoptr(arguments[0], pointer), _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return _types.void(_types.uintp), generate


# The uint32 at an address; nothing that follows is read before it.
load_acquire_u32: Callable[[np.uintp], np.uint32] = cast(Any, intrinsic)(_load_acquire_u32)

# Stores a uint32 at an address; all that precedes is visible before it.
store_release_u32: Callable[[np.uintp, np.uint32], None] = cast(Any, intrinsic)(_store_release_u32)

# Neither loads nor stores cross it, save that a store before it may become visible after a later load.
fence: Callable[[], None] = cast(Any, intrinsic)(_fence)

# (low, high, words, key) -> (low, high) + the sum of (word + key word) * (next word + next key word) over PRODUCT_WORDS
# words at the two addresses, modulo 2^128; sums of words modulo 2^64. The inner part of the hash NH.
add_products: Callable[[np.uint64, np.uint64, np.uintp, np.uintp], tuple[np.uint64, np.uint64]] = cast(Any, intrinsic)(
    _add_products
)

# The bits that are set in any of the VECTOR_WORDS words at an address.
any_bits: Callable[[np.uintp], np.uint64] = cast(Any, intrinsic)(_any_bits)

# The bits in which any of the VECTOR_WORDS words at one address differs from its fellow at the other.
differing_bits: Callable[[np.uintp, np.uintp], np.uint64] = cast(Any, intrinsic)(_differing_bits)

# Asks for the cache line at an address; does nothing where no memory is.
prefetch: Callable[[np.uintp], None] = cast(Any, intrinsic)(_prefetch)

# The C library's, resolved when the compiled code is loaded: (fd, offset, whence) -> offset or -1.
lseek: Callable[[int, int, int], int] = cast(
    Any, _types.ExternalFunction("lseek", _types.int64(_types.int32, _types.int64, _types.int32))
)

# The C library's too: (address, length, bytes to fill) -> 0 or -1. A byte is odd where a page is in memory.
mincore: Callable[[np.uintp, int, np.uintp], int] = cast(
    Any, _types.ExternalFunction("mincore", _types.int32(_types.uintp, _types.uintp, _types.uintp))
)
