"""Of the kernel and what it keeps: classes of pages, files in the page cache, modules, slab caches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.page_details import KERNEL_TABLES
from bridge.semantic.query.found import Found, Made, one
from bridge.semantic.query.model import CLASS_WORDS, Kind, Relation, Subject
from bridge.semantic.query.naming import FILES
from bridge.semantic.query.of_processes import stacks, tables
from bridge.semantic.query.results import NOBODY
from bridge.semantic.query.sight import Sight
from bridge.semantic.query.texts import shown

_CODE = (PageClass.KERNEL_TEXT, PageClass.MODULE)
_DATA = (PageClass.KERNEL_RODATA, PageClass.KERNEL_DATA, PageClass.KERNEL_BSS, PageClass.PER_CPU)
_MEMORY = (
    *_CODE,
    *_DATA,
    PageClass.VMEMMAP,
    PageClass.PAGE_TABLE,
    PageClass.SLAB,
    PageClass.KERNEL_STACK,
    PageClass.VMALLOC,
    PageClass.KERNEL_PAGES,
)


def of_kernel(sight: Sight, relation: Relation) -> Iterator[Found]:
    """What of the kernel itself is meant."""
    if relation is Relation.KERNEL_STACK:
        return stacks(sight, None)
    if relation is Relation.PAGE_TABLES:
        return tables(sight, (KERNEL_TABLES,))
    return _classes(sight, {Relation.CODE: _CODE, Relation.DATA: _DATA}.get(relation, _MEMORY))


def everything(sight: Sight, _subject: Subject) -> Iterator[Found]:
    """All pages by class; of what was written somewhere, by what it is there."""
    if sight.written is not None:
        return iter((sight.namer.groups(np.flatnonzero(sight.written).astype(np.uint32)),))
    return _classes(sight, tuple(page_class for page_class in PageClass if page_class is not PageClass.HOLE))


def _classes(sight: Sight, classes: Sequence[PageClass]) -> Iterator[Found]:
    """Those of some classes that there are."""
    return (found for one in classes if len((found := _class(sight, one)).pages))


def _class(sight: Sight, page_class: PageClass) -> Found:
    pages = np.flatnonzero(sight.look.classes == page_class).astype(np.uint32)
    return one(CLASS_TITLES[page_class], "class", None, pages)


def one_class(sight: Sight, subject: Subject) -> Iterator[Found]:
    """The pages of a class."""
    return iter((_class(sight, CLASS_WORDS[str(subject.value)]),))


def file(sight: Sight, subject: Subject) -> Iterator[Found]:
    """What of a file is in the page cache, or of all files."""
    paths = tuple(file.path for file in sight.look.details.files)
    if subject.value is not None and subject.value not in paths:
        sight.note(f"No page of {shown(str(subject.value))} is in memory.")
    return _listed(sight, subject, paths, FILES, "", always=subject.value is not None)


def module(sight: Sight, subject: Subject) -> Iterator[Found]:
    """The pages of a module, or of all."""
    _note_missing(sight, subject, sight.look.details.modules)
    return _listed(sight, subject, sight.look.details.modules, (PageClass.MODULE,), "module ")


def slab(sight: Sight, subject: Subject) -> Iterator[Found]:
    """The pages of a slab cache, or of all."""
    caches, name = sight.look.details.caches, subject.value
    if name is not None and name not in caches:
        # The kernel puts caches alike into one (mm/slab_common.c: slab_unmergeable), which has one's name.
        merged = next((cache.name for cache in sight.ask("slabs") if name in cache.aliases), None)
        if merged is not None:
            sight.note(f"The kernel keeps {shown(str(name))} together with others in {shown(merged)}.")
            subject = Subject(Kind.SLAB, merged)
    _note_missing(sight, subject, caches)
    return _listed(sight, subject, caches, (PageClass.SLAB,), "slab ")


def _note_missing(sight: Sight, subject: Subject, names: Sequence[str]) -> None:
    if subject.value not in names and not (subject.value is None and names):
        called = "" if subject.value is None else f" called {shown(str(subject.value))}"
        sight.note(f"No {subject.kind}{called} has pages in memory now.")


def _listed(
    sight: Sight,
    subject: Subject,
    names: Sequence[str],
    classes: tuple[PageClass, ...],
    before: str,
    *,
    always: bool = True,
) -> Iterator[Found]:
    """Those of a list that are called so, or all; a page's subject is an index of that list."""
    rows = np.array([at for at, name in enumerate(names) if subject.value in (None, name)], np.int64)
    groups = sight.by_subject(classes).some(rows)
    labels = Made(lambda at: before + shown(names[at]), rows)
    nobody = np.full(len(rows), NOBODY, np.int64)
    yield Found(labels, [str(subject.kind)] * len(rows), nobody, groups.starts, groups.pages, None, always)
