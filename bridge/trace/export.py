"""Exports: a flow graph as GraphML or DOT, hot blocks as a profile for speedscope or pprof.

Names come from the guest and may hold anything: each format's own quoting is applied to all of them.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from bridge.trace.flow_view import FlowNode, FlowView

_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINES = 24
"""Instructions in the label of a block."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One place of a profile's stack."""

    name: str
    address: int = 0


@dataclass(frozen=True, slots=True)
class Stack:
    """Where some of the time went, the outermost first: process, symbol, block."""

    frames: tuple[Frame, ...]
    weight: int
    entered: int


def graphml(view: FlowView) -> str:
    """GraphML (graphml.graphdrawing.org), with what is known of blocks and edges as data."""
    node_keys = ("label", "pc", "end", "count", "share", "symbol", "process", "loop_depth", "class", "disassembly")
    kinds = {"count": "long", "share": "double", "loop_depth": "int", "back": "boolean"}
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">']
    for owner, names in (("node", node_keys), ("edge", ("taken", "back"))):
        for name in names:
            kind = "long" if name == "taken" else kinds.get(name, "string")
            lines.append(f'  <key id="{name}" for="{owner}" attr.name="{name}" attr.type="{kind}"/>')
    lines.append(f'  <graph id={quoteattr(_xml(view.title))} edgedefault="directed">')
    for node in view.nodes:
        block = node.block
        values: dict[str, Any] = {**block.document(), "label": _title(node), "pc": f"{block.pc:#x}"}
        values |= {"end": f"{block.end:#x}", "disassembly": "\n".join(block.disassembly)}
        lines.append(f'    <node id="n{node.number}">')
        lines += [f'      <data key="{name}">{escape(_xml(str(values[name])))}</data>' for name in node_keys]
        lines.append("    </node>")
    for edge in view.edges:
        taken = f'<data key="taken">{edge.count}</data>' if view.measured else ""
        back = f'<data key="back">{str(edge.back).lower()}</data>'
        lines.append(f'    <edge source="n{edge.source}" target="n{edge.target}">{taken}{back}</edge>')
    return "\n".join([*lines, "  </graph>", "</graphml>", ""])


def dot(view: FlowView) -> str:
    """DOT (graphviz.org/doc/info/lang.html): hot blocks are filled, back edges dashed."""
    most = max((node.block.share for node in view.nodes), default=0.0) or 1.0
    heaviest = max((edge.count for edge in view.edges), default=0) or 1
    lines = [f"digraph {_quoted(view.title)} {{", "  rankdir=TB;"]
    lines.append('  node [shape=box, style=filled, fontname="monospace", fontsize=10];')
    for node in view.nodes:
        block = node.block
        more = len(block.disassembly) - _LINES
        shown = [*block.disassembly[:_LINES], *([f"… {more} more"] if more > 0 else [])]
        head = [_title(node), f"{block.count:,} times, {block.share:.2%} of the time"]
        label = "".join(_escaped(line) + "\\l" for line in [*head, *shown])
        colour = f"0.08 {0.6 * block.share / most:.3f} 1.0"
        lines.append(f'  n{node.number} [label="{label}", fillcolor="{colour}"];')
    for edge in view.edges:
        parts = [f'label="{edge.count:,}"', f"penwidth={1 + 3 * edge.count / heaviest:.2f}"] if view.measured else []
        parts += ["style=dashed", "constraint=false"] if edge.back else []
        attributes = f" [{', '.join(parts)}]" if parts else ""
        lines.append(f"  n{edge.source} -> n{edge.target}{attributes};")
    return "\n".join([*lines, "}", ""])


def speedscope(stacks: Sequence[Stack], title: str, unit: str) -> str:
    """A sampled profile (www.speedscope.app/file-format-schema.json). `unit`: `none`, `nanoseconds`, …"""
    frames: dict[Frame, int] = {}
    samples = [[frames.setdefault(frame, len(frames)) for frame in stack.frames] for stack in stacks]
    weights = [stack.weight for stack in stacks]
    profile = {
        "type": "sampled",
        "name": title,
        "unit": unit,
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }
    document = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "shared": {"frames": [{"name": frame.name} for frame in frames]},
        "profiles": [profile],
        "name": title,
        "activeProfileIndex": 0,
        "exporter": "glassbox",
    }
    return json.dumps(document)


def pprof(stacks: Sequence[Stack], kind: tuple[str, str], duration_ns: int = 0) -> bytes:
    """A profile of pprof: `profile.proto` of github.com/google/pprof, packed by gzip.

    `kind`: type and unit of the weights, such as ("cpu", "nanoseconds"); entries of blocks are a second value.
    """
    strings: dict[str, int] = {"": 0}
    functions: dict[str, int] = {}
    locations: dict[Frame, int] = {}

    def text(value: str) -> int:
        return strings.setdefault(value, len(strings))

    def location(frame: Frame) -> int:
        functions.setdefault(frame.name, len(functions) + 1)
        text(frame.name)
        return locations.setdefault(frame, len(locations) + 1)

    types = [(text(one), text(unit)) for one, unit in (kind, ("entered", "count"))]
    parts = [_message(1, _varint(1, one) + _varint(2, unit)) for one, unit in types]
    for stack in stacks:
        places = _packed(1, (location(frame) for frame in reversed(stack.frames)))  # the leaf comes first
        parts.append(_message(2, places + _packed(2, (stack.weight, stack.entered))))
    for frame, number in locations.items():
        line = _message(4, _varint(1, functions[frame.name]))
        parts.append(_message(4, _varint(1, number) + _varint(3, frame.address) + line))
    for name, number in functions.items():
        parts.append(_message(5, _varint(1, number) + _varint(2, strings[name]) + _varint(3, strings[name])))
    parts += [_message(6, value.encode("utf-8", "replace")) for value in strings]
    parts.append(_varint(10, duration_ns))
    return gzip.compress(b"".join(parts), mtime=0)


def _number(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _varint(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value) if value else b""


def _message(field: int, content: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(content)) + content


def _packed(field: int, values: Iterable[int]) -> bytes:
    return _message(field, b"".join(map(_number, values)))


def _title(node: FlowNode) -> str:
    block = node.block
    return f"{block.symbol} ({block.pc:#x})" if block.symbol else f"{block.pc:#x}"


def _xml(text: str) -> str:
    """`text` without the characters that no XML may hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _escaped(text: str) -> str:
    """`text` inside of a DOT label: quotes and backslashes mean themselves, line ends are none."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'
