"""What can go wrong with a trace."""

from __future__ import annotations


class TraceError(Exception):
    """A trace cannot be had, or not go on; the text says why in a sentence."""


class BadTraceMemory(TraceError):
    """A shared memory that is not what it should be: of another format, too short, or it contradicts itself."""


class BadRecording(TraceError):
    """A file that is no recording, is cut short or damaged, or says what cannot be."""


class NoPlugin(TraceError):
    """The machine runs without the plugin: it was not built, QEMU does not take it, or the machine was attached."""


class TracedElsewhere(TraceError):
    """Another program traces the machine: one at a time can."""
