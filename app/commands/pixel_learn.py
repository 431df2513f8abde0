"""`glassbox pixel learn` and `pixel run`: a running machine's hottest loops, proved; and done by their kernels."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.argument_types import row_limit
from app.exit_codes import ExitCode
from app.failures import CommandFailed
from app.interrupts import interrupts
from app.kernel_source import kernel_source, settle_source
from app.loop_documents import kind_of, loop_document
from app.output import format_duration, format_table, plural, print_json, print_note, print_text, printable
from app.output import progress_printer as progress
from app.watched import duration

if TYPE_CHECKING:
    from app.gpu_owner import GpuOwner
    from bridge.pixelcpu.gpu_back_end import BackEnd
    from bridge.pixelcpu.hybrid import KernelTable
    from bridge.pixelcpu.learning import Entry, Look
    from bridge.trace.hot import Namer
    from bridge.trace.session import TraceSession

_WATCH_S = 5.0
_RUN_S = 10.0
_FIRST_WATCH_S = 2.0
_TOP = 10
_POLL_S = 0.25
_TEXT = 44
_WAYS = {
    "plugin": "Kernels ran in QEMU, in the plugin.",
    "gdbstub": "Kernels ran beside QEMU, through its gdbstub: long loops only. A newer QEMU takes them itself "
    "(./glassbox qemu fetch).",
}


def configure(todo: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare both commands."""
    learn = todo.add_parser("learn", help="prove the loops that a machine runs most, and change nothing in it")
    runs = todo.add_parser("run", help="do a machine's hottest loops by their kernels for a while")
    for one, seconds, what in (
        (learn, _WATCH_S, "how long to watch"),
        (runs, _RUN_S, "how long kernels run, or until Ctrl+C"),
    ):
        one.add_argument("name", nargs="?", help="the machine's name; not needed where only one runs")
        one.add_argument(
            "--for",
            dest="seconds",
            type=duration,
            default=seconds,
            metavar="TIME",
            help=f"{what}: {seconds:g}s by default",
        )
        one.add_argument(
            "--top", type=row_limit, default=_TOP, metavar="N", help=f"so many loops, {_TOP} by default; 0: 64, all"
        )
        one.add_argument(
            "--types", type=Path, metavar="FILE", help="an ISF or vmlinux, for kernels that carry no types"
        )
        one.add_argument("--json", action="store_true", help="print one JSON object")
        one.set_defaults(dump=None, verify=False, back_end="auto")
    runs.add_argument(
        "--back-end",
        choices=("auto", "host", "gpu"),
        default="auto",
        help="who runs kernels: the quickest as measured, this computer's processor alone, or its GPU wherever it can",
    )
    runs.add_argument(
        "--verify", action="store_true", help="kernels run beside QEMU: results are compared, and QEMU's are used"
    )


def run(options: argparse.Namespace) -> int:
    """Watch, learn, and with `run` take over. Returns 0, or 1 where it ended early; NoTakeover, UsageError,
    NoSuchMachine, MachineError, TraceError, PixelError.
    """
    from bridge.machine.directories import state_dir
    from bridge.pixelcpu.gpu_back_end import BackEnd
    from bridge.pixelcpu.learner import Learner
    from bridge.pixelcpu.learning import MOST_KERNELS, Learning
    from bridge.pixelcpu.prover import Prover
    from bridge.pixelcpu.takeover import takeover_of
    from bridge.trace.visit import traced

    settle_source(options)
    folder = state_dir() / "pixel"
    takes_over = options.todo == "run"
    with contextlib.ExitStack() as stack:
        interrupted = stack.enter_context(interrupts())
        session = stack.enter_context(traced(options.name))
        hybrid = stack.enter_context(contextlib.closing(takeover_of(session))) if takes_over else None
        gpu = None if hybrid is None else _gpu(stack, BackEnd(options.back_end), session, hybrid)
        namer = stack.enter_context(_namer(options, session))
        prover = stack.enter_context(Prover())
        learner = Learner(folder, prover)
        learning = Learning(
            session,
            learner,
            namer,
            hybrid=hybrid,
            verify=options.verify,
            most=options.top or MOST_KERNELS,
            watch_s=_FIRST_WATCH_S if takes_over else options.seconds,
            gpu=gpu,
        )
        stack.callback(learning.stop)
        learning.start()
        show = progress()
        while not (settled := learning.wait(_POLL_S)) and not interrupted.is_set():
            show(f"Learning, {plural(learner.made + learner.from_library, 'loop')}", 0.5)
        if takes_over and settled and learning.goes_on:
            learning.mark()
            deadline = time.monotonic() + options.seconds
            while (left := deadline - time.monotonic()) > 0 and learning.goes_on and not interrupted.is_set():
                show(f"Taking over, {format_duration(options.seconds - left)}", 1 - left / options.seconds)
                interrupted.wait(min(left, _POLL_S))
        look = learning.look()
    if options.json:
        print_json(_document(options, look, way=None if hybrid is None else hybrid.way))
    elif hybrid is not None:
        ran = f"\n{_WAYS[hybrid.way]}" if look.entries else ""
        print_text(f"{_taken_text(look, verify=options.verify)}{ran}")
    else:
        print_text(_learned_text(look))
    if learner.problem:
        print_note(learner.problem)
    if look.failure:
        raise CommandFailed(look.failure)
    return ExitCode.DONE if settled else ExitCode.FAILED


def _gpu(stack: contextlib.ExitStack, back_end: BackEnd, session: TraceSession, hybrid: KernelTable) -> GpuOwner | None:
    """Who has the GPU, where one is asked for. Raises NoTakeover, MachineError."""
    from app.gpu_owner import GpuOwner
    from bridge.pixelcpu.gpu_back_end import BackEnd as Choice
    from bridge.pixelcpu.hybrid import NoTakeover

    if not hybrid.asks_gpu:
        if back_end is Choice.GPU:
            raise NoTakeover("Only a plugin that runs kernels itself asks the GPU for them (./glassbox qemu fetch).")
        return None
    hybrid.prefer(back_end)
    if back_end is Choice.HOST:
        return None
    return stack.enter_context(GpuOwner.of(session, software=back_end is Choice.GPU))


@contextlib.contextmanager
def _namer(options: argparse.Namespace, session: TraceSession) -> Iterator[Callable[[], Namer]]:
    """Who knows the guest's names; nobody, and a note, where its kernel is not known: loops are loops nevertheless."""
    from bridge.kernel.errors import KernelError
    from bridge.pixelcpu.learning import Nameless
    from bridge.trace.naming import KernelNamer

    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(kernel_source(options))
            known = KernelNamer(source.kernel, source.look())
            session.follow_tasks(known.task_words(session.memory.vcpus))
        except KernelError as error:
            print_note(f"Nothing will have a name. {error}")
            yield Nameless
            return

        def now() -> Namer:
            try:
                return KernelNamer(source.kernel, source.look())
            except KernelError:  # it was reset meanwhile: what was seen before holds
                return known

        yield now


def _document(options: argparse.Namespace, look: Look, *, way: str | None) -> dict[str, Any]:
    takes_over = way is not None
    document: dict[str, Any] = {
        "machine": options.name,
        "settled": look.settled,
        "made": look.made,
        "from_library": look.from_library,
        "loops": [loop_document(one, takes_over=takes_over) for one in look.entries],
    }
    if takes_over:
        document |= {
            "way": way,
            "verify": options.verify,
            "back_end": options.back_end,
            "gpu": look.gpu or None,
            "no_gpu": look.no_gpu or None,
            "seconds": round(look.seconds, 3),
            "instructions": look.instructions,
            "taken_over": round(look.taken, 6),
            "saved_s": round(look.saved_s, 3),
        }
    if look.failure:
        document["error"] = look.failure
    return document


def _row(one: Entry) -> tuple[str, ...]:
    candidate = one.candidate
    where = candidate.symbol or f"{candidate.address:#x}"
    process = f" in {candidate.process}" if candidate.process else ""
    return str(one.state), kind_of(one) or str(candidate.kind), printable(where + process)


def _no_loop(look: Look) -> str:
    if not look.settled:
        return "It was ended before a loop was seen"
    return "No loop took a two-hundredth of the time or more"


def _learned_text(look: Look) -> str:
    if not look.entries:
        return f"{_no_loop(look)}: nothing to learn."
    rows = []
    for one in look.entries:
        candidate = one.candidate
        text = "; ".join(candidate.disassembly)
        shares = f"{candidate.time_share:.1%}", f"{candidate.share:.1%}"
        estimate = "" if one.estimate is None else f"{one.estimate:.1f} x"
        rows.append((*_row(one)[:2], *shares, estimate, _row(one)[2], one.reason or _cut(text)))
    head = ("STATE", "KIND", "TIME", "INSTRUCTIONS", "ESTIMATE", "WHERE", "REASON, OR CODE")
    good = [one for one in look.entries if one.learned is not None and not one.reason]
    share = sum(one.candidate.share for one in good)
    told = (
        f"{len(good)} of {plural(len(rows), 'loop')} can be done by kernels, {share:.1%} of the instructions; "
        f"{look.made:,} learned now, {look.from_library:,} known before."
    )
    return f"{format_table(head, rows, right=frozenset({2, 3, 4}))}\n\n{told}"


def _taken_text(look: Look, *, verify: bool) -> str:
    if not look.entries:
        return f"{_no_loop(look)}: nothing to take over."
    rows = []
    for one in look.entries:
        told = one.told
        speed_up = f"{told.speed_up:.1f} x" if told is not None and told.speed_up else ""
        shares = f"{one.candidate.share:.1%}", f"{one.taken:.1%}"
        rows.append((*_row(one)[:2], *shares, f"{one.rounds:,}", one.back_end, speed_up, _row(one)[2], _why(one)))
    head = (
        "STATE",
        "KIND",
        "INSTRUCTIONS",
        "TAKEN",
        "ROUNDS",
        "BY",
        "SPEED-UP",
        "WHERE",
        "REASON, OR WHAT WAS LEFT TO QEMU",
    )
    table = format_table(head, rows, right=frozenset({2, 3, 4, 6}))
    seconds = format_duration(look.seconds)
    if verify:
        wrong = sum("differed from QEMU" in one.reason + one.no_gpu for one in look.entries)
        rounds = sum(one.rounds for one in look.entries)
        return f"{table}\n\nIn {seconds} {rounds:,} rounds were compared with QEMU's: {wrong or 'no'} kernel differed."
    saved = f", {format_duration(look.saved_s)} less than QEMU at its quickest" if look.saved_s > 0 else ""
    return (
        f"{table}\n\n{_gpu_text(look)}In {seconds} kernels did {look.taken:.1%} of {look.instructions:,} "
        f"instructions{saved}. QEMU does everything again."
    )


def _gpu_text(look: Look) -> str:
    if look.gpu:
        rounds = sum(one.gpu_rounds for one in look.entries)
        return f"{plural(rounds, 'round')} of them were done on the GPU, {printable(look.gpu)}.\n"
    return f"Nothing was done on a GPU. {printable(look.no_gpu)}\n" if look.no_gpu else ""


def _why(one: Entry) -> str:
    if one.reason or one.told is None:
        return one.reason
    declined = sorted(one.told.declined.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count:,} times: {why}" for why, count in declined[:2])


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
