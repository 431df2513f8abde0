"""The compiled search: 64 places at a time are compared with two bytes of a needle, and what passes with all of it.

RAM is read through a file descriptor, a piece at a time, into a buffer that the processor's cache holds. That costs a
quarter of the speed of a look through the mapping, and spares what a mapping brings with it: a hole of the file stays
one (a look would fill it), a file that shrinks ends a read instead of the program, and no byte changes between the look
and the comparison. Comparing a first and a last byte in vectors is W. Mula, "SIMD-friendly algorithms for substring
searching" (2016); here it is the two that are rarest in this RAM, each under a mask.
"""
# ruff: noqa: ARG001 - numba calls these with typing and code generation contexts, and matches arguments by name

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bridge.memory.native import compiled, inlined, load_acquire_u32

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

LANES = 64
BUFFER_BYTES = 1 << 18
SPARE_BYTES = LANES
"""After the buffer: the last comparison reaches beyond it."""

# What a call says in its state.
POSITION, FOUND, MISSING_BYTES, N_STATE = range(4)

_WORK_BYTES = 1 << 20
"""Compared one by one before somebody who wants to stop is listened to: a fraction of a millisecond."""

_types: Any = types
_VECTOR = ir.VectorType(ir.IntType(8), LANES)


def _spread(builder: Any, byte: Any) -> Any:
    none = ir.Constant(_VECTOR, ir.Undefined)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(builder.insert_element(none, byte, ir.IntType(32)(0)), none, zeros)


def _matching(typing_context: Any, first: Any, mask: Any, value: Any, other: Any, mask2: Any, value2: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def equal(address: Any, mask: Any, value: Any) -> Any:
            data = builder.load(builder.inttoptr(address, _VECTOR.as_pointer()), align=1)
            return builder.icmp_unsigned("==", builder.and_(data, _spread(builder, mask)), _spread(builder, value))

        both = builder.and_(equal(*arguments[:3]), equal(*arguments[3:]))
        return builder.bitcast(both, ir.IntType(64))

    address, byte = _types.uintp, _types.uint8
    return _types.uint64(address, byte, byte, address, byte, byte), generate


def _lowest_bit(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return _types.int64(_types.uint64), generate


# (address, mask, value, other address, mask, value) -> bit k is set where byte k of both, masked, is its value.
matching: Callable[..., np.uint64] = cast(Any, intrinsic)(_matching)

# The number of the lowest bit that is set; there must be one.
lowest_bit: Callable[[np.uint64], int] = cast(Any, intrinsic)(_lowest_bit)

# The C library's, resolved when the compiled code is loaded: (fd, address, length, offset) -> bytes read or -1.
_pread: Callable[..., int] = cast(
    Any, _types.ExternalFunction("pread", _types.int64(_types.int32, _types.uintp, _types.int64, _types.int64))
)

# The C library's too: (target address, source address, length).
_memcpy: Callable[..., object] = cast(
    Any, _types.ExternalFunction("memcpy", _types.uintp(_types.uintp, _types.uintp, _types.int64))
)


@inlined
def _read(fd: int, memory: int, offset: int, length: int, target: U8, at: int) -> int:
    """Fills `target` from `at` on with bytes of the RAM file (or, with `fd` -1, of memory at an address), with zeros
    where the file has none any more; gives how many those are.
    """
    if fd < 0:
        _memcpy(np.uintp(target.ctypes.data + at), np.uintp(memory + offset), length)
        return 0
    done = 0
    while done < length:
        n = _pread(np.int32(fd), np.uintp(target.ctypes.data + at + done), length - done, offset + done)
        if n <= 0:
            break
        done += n
    for i in range(done, length):
        target[at + i] = 0
    return length - done


@inlined
def _equals(buffer: U8, at: int, values: U8, masks: U8, first: int, stop: int) -> int:
    """How many bytes of a needle are equal, from its beginning on."""
    for i in range(first, stop):
        if (buffer[at + i - first] & masks[i]) != values[i]:
            return i - first
    return stop - first


@compiled(nogil=True)
def find_needles(
    fd: int,
    memory: int,
    offsets: I64,
    starts: I64,
    joined: U8,
    values: U8,
    masks: U8,
    bounds: I64,
    anchors: I64,
    longest: int,
    first: int,
    stop: int,
    buffer: U8,
    out_positions: I64,
    out_needles: I32,
    state: I64,
    stopped: U32,
) -> None:
    """Finds each place in [first, stop) at which a needle begins, in order of the places.

    Goes on until there is no more to search, no more room in `out_positions`, or `stopped[0]`; `state[POSITION]` is
    then where to go on. `offsets`, `starts`, `joined`: `Places`; `values` to `longest`: `PackedNeedles`. `buffer`:
    BUFFER_BYTES and, for what the last comparison reaches, SPARE_BYTES and the longest needle more.
    `out_positions` has room for LANES of each needle at least.
    """
    n_needles = len(bounds) - 1
    room = LANES * n_needles
    found, work = 0, 0
    piece = np.searchsorted(starts, first, side="right") - 1
    position = first
    state[MISSING_BYTES] = 0
    while position < stop and load_acquire_u32(np.uintp(stopped.ctypes.data)) == 0:
        while starts[piece + 1] <= position:
            piece += 1
        # Read on until the buffer is full or memory does not go on.
        have, at, walk, ended = 0, position, piece, False
        while not ended and have < BUFFER_BYTES:
            n = min(starts[walk + 1] - at, BUFFER_BYTES - have)
            state[MISSING_BYTES] += _read(fd, memory, offsets[walk] + at - starts[walk], n, buffer, have)
            have += n
            at += n
            if at == starts[walk + 1]:
                walk += 1
                ended = walk == len(joined) or joined[walk] == 0
        # Where every needle lies in the buffer, or could go on nowhere.
        n_places = min(have if ended else have - longest + 1, stop - position)
        base = np.int64(buffer.ctypes.data)
        for group in range(0, n_places, LANES):
            if found + room > len(out_positions):
                state[POSITION], state[FOUND] = position + group, found
                return
            for needle in range(n_needles):
                begin, end = bounds[needle], bounds[needle + 1]
                one, two = anchors[needle, 0], anchors[needle, 1]
                bits = matching(
                    np.uintp(base + group + one),
                    masks[begin + one],
                    values[begin + one],
                    np.uintp(base + group + two),
                    masks[begin + two],
                    values[begin + two],
                )
                while bits != 0:
                    place = group + lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    if place >= n_places or place + end - begin > have:
                        break
                    equal = _equals(buffer, place, values, masks, begin, end)
                    work += equal
                    if equal == end - begin:
                        out_positions[found] = position + place
                        out_needles[found] = needle
                        found += 1
            if work > _WORK_BYTES:
                work = 0
                if load_acquire_u32(np.uintp(stopped.ctypes.data)) != 0:
                    n_places = min(n_places, group + LANES)
                    break
        position += n_places
    state[POSITION], state[FOUND] = position, found


@compiled(nogil=True)
def still_there(
    fd: int,
    memory: int,
    offsets: I64,
    starts: I64,
    values: U8,
    masks: U8,
    bounds: I64,
    positions: I64,
    needles: I32,
    buffer: U8,
    there: U8,
) -> None:
    """Whether each match that was found is still one. `there` (n,): 1 or 0."""
    for hit in range(len(positions)):
        begin, end = bounds[needles[hit]], bounds[needles[hit] + 1]
        position, have = positions[hit], 0
        piece = np.searchsorted(starts, position, side="right") - 1
        missing = 0
        while have < end - begin:
            n = min(starts[piece + 1] - position, end - begin - have)
            missing += _read(fd, memory, offsets[piece] + position - starts[piece], n, buffer, have)
            have += n
            position += n
            piece += 1
        there[hit] = missing == 0 and _equals(buffer, 0, values, masks, begin, end) == end - begin
