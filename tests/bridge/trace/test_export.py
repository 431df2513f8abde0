"""Exports are what their formats say they are, whatever the guest calls its things: read back by other means."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.trace.export import Frame, Stack, dot, graphml, pprof, speedscope
from bridge.trace.flow_view import FlowEdge, FlowNode, FlowView
from bridge.trace.hot import HotBlock
from bridge.trace.instructions import BlockClass

NASTY = "a\"b\\c\n<d>&e;\x1b[31m%s{}\x00\ud800'</data>]]>\u202e"


def view_of(symbol: str, *, measured: bool = True) -> FlowView:
    """Two blocks, one of which goes back to the other one."""
    blocks = [
        HotBlock(0xFFFFFFFF81000000 + n, 0xFFFFFFFF81000003 + n, 7 + n, 0.25, symbol, symbol, 1, BlockClass.IO, lines)
        for n, lines in ((0, ("in al, dx",)), (16, tuple(f"nop {symbol}" for _ in range(30))))
    ]
    nodes = tuple(FlowNode(n + 1, block, 1) for n, block in enumerate(blocks))
    edges = (FlowEdge(1, 2, 9, False), FlowEdge(2, 1, 8, True))
    return FlowView(symbol, nodes, edges, measured, 0)


@pytest.mark.parametrize("symbol", ["do_idle + 0x1f", NASTY, ""])
def test_graphml_is_read_back_by_an_xml_parser(symbol: str) -> None:
    space = {"g": "http://graphml.graphdrawing.org/xmlns"}
    root = ElementTree.fromstring(graphml(view_of(symbol)).encode("utf-8"))
    declared = {key.get("id") for key in root.findall("g:key", space)}
    nodes = root.findall("g:graph/g:node", space)
    assert [node.get("id") for node in nodes] == ["n1", "n2"]
    first = {part.get("key"): part.text or "" for part in nodes[0]}
    assert set(first) <= declared
    assert (first["count"], first["class"], first["pc"]) == ("7", "i/o", "0xffffffff81000000")
    shown = symbol.replace("\x1b", "\ufffd").replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert first["symbol"] == shown
    edges = root.findall("g:graph/g:edge", space)
    assert [(edge.get("source"), edge.get("target")) for edge in edges] == [("n1", "n2"), ("n2", "n1")]
    assert [[part.text for part in edge] for edge in edges] == [["9", "false"], ["8", "true"]]
    unmeasured = ElementTree.fromstring(graphml(view_of(symbol, measured=False)).encode("utf-8"))
    assert [[part.text for part in edge] for edge in unmeasured.findall("g:graph/g:edge", space)] == [
        ["false"],
        ["true"],
    ]


STRING = r'"(?:[^"\\]|\\.)*"'
ATTRIBUTES = rf"\[\w+=(?:{STRING}|[\w.]+)(?:, \w+=(?:{STRING}|[\w.]+))*\]"
STATEMENT = re.compile(rf"  (?:rankdir=TB|node {ATTRIBUTES}|n\d+ {ATTRIBUTES}|n\d+ -> n\d+(?: {ATTRIBUTES})?);")


@given(st.one_of(st.just(NASTY), st.text(max_size=40)), st.booleans())
@settings(max_examples=100, deadline=None)
def test_dot_is_one_statement_a_line_whatever_the_names(symbol: str, measured: bool) -> None:
    first, *statements, last, end = dot(view_of(symbol, measured=measured)).split("\n")
    assert re.fullmatch(rf"digraph {STRING} \{{", first)
    assert (last, end) == ("}", "")
    for statement in statements:
        assert STATEMENT.fullmatch(statement), statement
        assert statement.isprintable()
    assert len(statements) == 2 + 2 + 2
    assert "… 6 more" in statements[3]
    assert "style=dashed" in statements[5]
    assert ('label="9"' in statements[4]) == measured


STACKS = [
    Stack((Frame("gzip (80)"), Frame("deflate"), Frame("deflate (0x401000)", 0x401000)), 700, 12),
    Stack((Frame("gzip (80)"), Frame(NASTY), Frame("0xffffffffffffffff", (1 << 64) - 1)), 300, 1 << 40),
]


def test_speedscope_has_samples_of_known_frames_whose_weights_sum_up() -> None:
    document = json.loads(speedscope(STACKS, NASTY, "nanoseconds"))
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    (profile,) = document["profiles"]
    frames = [frame["name"] for frame in document["shared"]["frames"]]
    assert (profile["type"], profile["unit"], profile["startValue"], profile["endValue"]) == (
        *("sampled", "nanoseconds"),
        *(0, 1000),
    )
    told = [[frames[n] for n in sample] for sample in profile["samples"]]
    assert told == [[frame.name for frame in stack.frames] for stack in STACKS]
    assert profile["weights"] == [700, 300]
    assert len(frames) == len(set(frames)) == 5


def fields(data: bytes) -> list[tuple[int, Any]]:
    """A message of protocol buffers as (number, value): of numbers and of bytes."""
    found: list[tuple[int, Any]] = []
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            found.append((key >> 3, number()))
        else:
            assert key & 7 == 2
            length = number()
            assert at + length <= len(data)
            found.append((key >> 3, data[at : at + length]))
            at += length
    return found


def numbers(data: bytes) -> list[int]:
    """Packed ones: each ends with a byte whose upper bit is clear."""
    each = re.findall(rb"[\x80-\xff]*[\x00-\x7f]", data, re.DOTALL)
    return [value for _, value in fields(b"".join(b"\x08" + one for one in each))]


def test_pprof_is_read_back_by_the_wire_format() -> None:
    profile = fields(gzip.decompress(pprof(STACKS, ("cpu", "nanoseconds"), 5_000_000_000)))
    parts: dict[int, list[Any]] = {}
    for field, value in profile:
        parts.setdefault(field, []).append(value)
    strings = [value.decode() for value in parts[6]]
    assert strings[0] == ""
    assert [[strings[value] for _, value in fields(one)] for one in parts[1]] == [
        ["cpu", "nanoseconds"],
        ["entered", "count"],
    ]
    names = {dict(fields(one))[1]: strings[dict(fields(one))[2]] for one in parts[5]}
    locations = {}
    for one in parts[4]:
        place = dict(fields(one))
        locations[place[1]] = (names[dict(fields(place[4]))[1]], place.get(3, 0))
    told = []
    for one in parts[2]:
        sample = dict(fields(one))
        told.append(([locations[n] for n in numbers(sample[1])], numbers(sample[2])))
    assert told == [
        (
            [(frame.name.encode("utf-8", "replace").decode(), frame.address) for frame in reversed(stack.frames)],
            [stack.weight, stack.entered],
        )
        for stack in STACKS
    ]
    assert parts[10] == [5_000_000_000]


def test_nothing_is_an_empty_profile() -> None:
    assert json.loads(speedscope([], "x", "none"))["profiles"][0]["endValue"] == 0
    assert [field for field, _ in fields(gzip.decompress(pprof([], ("cpu", "nanoseconds"))))] == [1, 1, *[6] * 5]
