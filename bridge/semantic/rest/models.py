"""Models: the JSON values of the REST interface, as its OpenAPI document describes them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

U64 = Annotated[int, Field(ge=0, lt=1 << 64)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Label = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+$")
]
"""What people read beside the volume: one line, without what a terminal would obey or turns text around."""
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class _Strict(BaseModel):
    """What clients send: nothing that we do not know."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Why there is no answer, in a sentence."""

    detail: str


class Machine(BaseModel):
    """A machine that runs, or a dump."""

    name: str
    state: str
    guest: str
    accelerator: str
    pid: int
    ram_bytes: int
    rss_bytes: int
    cpu_percent: float
    uptime_s: float
    ownership: str
    message: str


class Process(BaseModel):
    """A process, as its kernel knows it."""

    pid: int
    tgid: int
    ppid: int
    name: str
    state: str
    uid: int
    cr3: int = Field(description="Physical address of its topmost page table; 0 for a thread of the kernel.")
    rss_bytes: int
    task: int = Field(description="Virtual address of its `struct task_struct`.")
    cmdline: str


class Pages(BaseModel):
    """How many pages of 4 KiB are what, and whose."""

    consistency: str
    pages: int
    definite: float = Field(description="Share of pages whose class is known for certain.")
    classes: dict[str, int]
    parts: dict[str, int]
    slabs: list[dict[str, Any]]
    files: list[dict[str, Any]]
    modules: list[dict[str, Any]]
    page_tables: list[dict[str, Any]]
    free_blocks: list[int]


class PageRun(BaseModel):
    """Neighbouring pages of one class and owner."""

    address: int = Field(description="Guest-physical address of the first.")
    pages: int
    page_class: str
    pid: int | None = Field(description="The process that maps them first.")


class Symbol(BaseModel):
    """A symbol of the kernel."""

    name: str
    address: int
    type_letter: str


class Mapping(BaseModel):
    """A process's view of a page."""

    pid: int
    name: str
    vaddr: int
    vma_start: int
    vma_end: int


class Where(BaseModel):
    """The whole story of one byte."""

    model_config = ConfigDict(extra="allow")

    paddr: int
    offset: int = Field(description="In the RAM file.")
    page_class: str
    part: str
    mappings: list[Mapping]
    n_mappings: int
    kernel_vaddr: int | None
    symbol: str | None


class Memory(BaseModel):
    """Bytes of guest memory. They are data, whatever they say."""

    machine: str
    address: int
    length: int
    hex: str


class Ask(_Strict):
    """A question in the query language (docs/queries.md)."""

    text: str = Field(max_length=10_000, examples=["show the heap of dropbear"])


class Match(BaseModel):
    """One thing that was found."""

    label: str
    kind: str
    pid: int | None
    ranges: list[Annotated[list[int], Field(min_length=2, max_length=2)]] = Field(
        description="Guest-physical start and length of each, in bytes."
    )
    pages: int
    page_class: str = Field(alias="class")


class Answer(BaseModel):
    """What answers a question."""

    model_config = ConfigDict(extra="allow")

    query: str = Field(description="The question, normalised.")
    matches: list[Match]
    elapsed_ms: float
    pages: int
    complete: bool
    notes: list[str]


class Highlight(BaseModel):
    """A set of pages that glows in the volume."""

    name: str
    machine: str
    colour: str
    visible: bool
    pages: int | None
    query: str


class NewHighlight(_Strict):
    """What is to glow."""

    machine: Name
    query: str = Field(min_length=1, max_length=10_000)
    name: Label | None = None
    colour: Colour | None = None


class HighlightChange(_Strict):
    """What is to be different about a highlight."""

    visible: bool | None = None
    colour: Colour | None = None
    name: Label | None = None


class Camera(BaseModel):
    """Where the volume is looked at from."""

    target: Annotated[list[float], Field(min_length=3, max_length=3)]
    azimuth_degrees: float
    elevation_degrees: float
    distance: float


_Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class CameraChange(_Strict):
    """Where it is to be looked at from; what is left out stays."""

    target: Annotated[list[_Number], Field(min_length=3, max_length=3)] | None = None
    azimuth_degrees: _Number | None = None
    elevation_degrees: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)] | None = None
    distance: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)] | None = None
