"""Exit codes of the command line: one place says what each number means."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_SUCH_MACHINE = 3
    COMPONENT_MISSING = 4
