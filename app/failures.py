"""Which typed error means which exit code: the one place where the command line knows all rooms' errors."""

from app.exit_codes import ExitCode
from app.numbers import BadNumber


def exit_code_of(error: BaseException) -> ExitCode | None:
    """Return the exit code for an error that was foreseen, or None for a defect, which is to be seen whole."""
    from app.control import ControlError
    from bridge.kernel.errors import KernelError
    from bridge.machine.errors import MachineError, NoSuchMachine, QemuMissing
    from bridge.machine.guest import GuestError, GuestIngredientMissing
    from bridge.memory.errors import GuestMemoryError
    from bridge.pixelcpu.errors import PixelError
    from bridge.semantic.audit import AuditFailed
    from bridge.semantic.store.errors import BadQuery, StoreError
    from bridge.trace.errors import TraceError

    if isinstance(error, NoSuchMachine):
        return ExitCode.NO_SUCH_MACHINE
    if isinstance(error, QemuMissing | GuestIngredientMissing | ComponentMissing):
        return ExitCode.COMPONENT_MISSING
    if isinstance(error, BadNumber | UsageError | BadQuery):
        return ExitCode.USAGE
    rooms = (
        MachineError | GuestError | GuestMemoryError | KernelError | AuditFailed | StoreError | TraceError | PixelError
    )
    if isinstance(error, rooms | ControlError | CommandFailed | OSError):
        return ExitCode.FAILED
    return None


class CommandFailed(Exception):
    """A command could not do what it was asked to; the message is for people."""


class UsageError(Exception):
    """What was asked for makes no sense as written; the message says what would."""


class ComponentMissing(Exception):
    """A program, driver or package that the command needs is not there; the message says how to get it."""
