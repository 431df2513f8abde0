"""`python -m tests.bridge.kernel.campaign`: runs a campaign, in a child process that may crash or hang.

    ./glassbox test --fuzz 5000                             over the demo guest, which is booted for it
    ./glassbox test --fuzz 5000 --dump a.ram --seed 3       over a raw dump of yours
    ./glassbox test --fuzz 1 --first 1234 --dump a.ram --seed 3    one round of it again
    … --check-bounds                                        compiled loops look at each index (slower)

Ends with 1 where a round failed, after a report on standard output: one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_ROOT = Path(__file__).resolve().parents[4]
_HANG_S = 180.0
"""Of one round, by the clock: far more than the limits of processor time add up to."""
_SPARE_BYTES = 6 << 30
"""Of address space beyond what the child has when it begins: an end to what asks for everything."""
_MAX_GROWN_KIB = 1 << 20


def main() -> int:
    """Returns 0 where every round ended as it may."""
    options = _options()
    if options.child:
        _work(options)
        return 0
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glassbox-fuzz-", dir=_shared_memory())))
        ram = work / "victim.ram"
        if options.dump is None:
            _boot(ram)
        else:
            ram.write_bytes(options.dump.read_bytes())
        report = _supervise(options, ram)
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 1 if report["failures"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./glassbox test --fuzz", description="Damage a dump and ask everything.")
    parser.add_argument("rounds", type=int, help="how many rounds")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="a raw dump; without it the demo guest is booted")
    parser.add_argument("--seed", type=int, default=1, help="rounds of another seed are other rounds (default: 1)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first round (default: 0)")
    parser.add_argument("--kind", default="", help="only this kind of damage; the report names all")
    parser.add_argument("--limit", type=float, default=10.0, metavar="S", help="processor time of a question (10)")
    parser.add_argument("--check-bounds", action="store_true", help="compiled loops look at each index")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _shared_memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _boot(ram: Path) -> None:
    """A dump of the demo guest with modules, sockets, threads and a file that is gone but open."""
    from bridge.machine.catalogue import find_guest
    from tests.bridge.machine.serial_guest import start_guest

    guest = find_guest("demo")
    with tempfile.TemporaryDirectory(dir=ram.parent) as directory, start_guest(guest, Path(directory)) as shell:
        shell.wait_for(guest.ready_marker or b"")
        shell.run("until pidof dropbear; do sleep 0.2; done; sleep 1", timeout_s=180)
        shell.run("while read -r m; do insmod $m; done </etc/network-modules; true")
        shell.run("sleep 1000 & nc -l -p 99 & echo x >/run/gone; exec 7</run/gone; rm /run/gone; sleep 1; true")
        with shell.held():
            ram.write_bytes(shell.ram.read_bytes())


def _supervise(options: argparse.Namespace, ram: Path) -> dict[str, Any]:
    """Start children until all rounds are done: one that ends in a round has failed there, and the next goes on."""
    began_s = time.monotonic()
    report: dict[str, Any] = {
        "seed": options.seed, "rounds": 0, "kinds": Counter(), "outcomes": Counter(), "slowest_s": 0.0, "slowest": "",
        "most_grown_kib": 0, "most_grown": "", "failures": [],
    }  # fmt: skip
    following, end = options.first, options.first + options.rounds
    while following < end:
        with tempfile.TemporaryFile() as errors:
            child = _start(options, ram, following, end - following, errors)
            open_round = None
            for message in _messages(child):
                if "begins" in message:
                    open_round = message["begins"]
                    continue
                open_round, following = None, message["number"] + 1
                _count(report, message)
                if not report["rounds"] % 100:
                    sys.stderr.write(f"{report['rounds']:,} rounds, {len(report['failures'])} failures\n")
                    sys.stderr.flush()
            code = child.wait()
            if open_round is None and not code:
                break
            errors.seek(0)
            number, kind = open_round or (following, "none")
            text = errors.read().decode("utf-8", "replace")[-6000:]
            _say_failure(report, number, kind, f"the process ended with {code}: {text}")
            if open_round is None and following == options.first:
                break  # it cannot even begin
            following = number + 1
    report["took_s"] = round(time.monotonic() - began_s, 1)
    return report


def _start(
    options: argparse.Namespace, ram: Path, first: int, rounds: int, errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "tests.bridge.kernel.campaign", "--child", str(rounds), "--dump", str(ram)]
    command += ["--first", str(first), "--seed", str(options.seed), "--limit", str(options.limit)]
    command += ["--kind", options.kind] + (["--check-bounds"] if options.check_bounds else [])
    # Nothing of a damaged kernel is left in the user's own cache.
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "XDG_CACHE_HOME": str(ram.parent)}
    if options.check_bounds:
        environment["NUMBA_BOUNDSCHECK"] = "1"
    return subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment
    )


def _messages(child: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    assert child.stdout is not None
    for line in child.stdout:
        yield json.loads(line)


def _count(report: dict[str, Any], message: dict[str, Any]) -> None:
    name = f"{message['kind']} (round {message['number']})"
    report["rounds"] += 1
    report["kinds"][message["kind"]] += 1
    report["outcomes"].update(message["outcomes"])
    if message["slowest_s"] > report["slowest_s"]:
        report["slowest_s"], report["slowest"] = round(message["slowest_s"], 3), f"{message['slowest']}, {name}"
    if message["grown_kib"] > report["most_grown_kib"]:
        report["most_grown_kib"], report["most_grown"] = message["grown_kib"], name
    for failure in message["failures"]:
        _say_failure(report, message["number"], message["kind"], failure)


def _say_failure(report: dict[str, Any], number: int, kind: str, text: str) -> None:
    sys.stderr.write(f"round {number} ({kind}, seed {report['seed']}): {text}\n\n")
    sys.stderr.flush()
    report["failures"].append({"round": number, "kind": kind, "text": text[-3000:]})


def _work(options: argparse.Namespace) -> None:
    """The child: rounds, each told before it begins and when it is over."""
    import bridge.memory.native

    # What numba keeps between runs does not say whether it looks at indices.
    kept = tempfile.TemporaryDirectory(prefix="glassbox-fuzz-") if options.check_bounds else None
    if kept is not None:
        bridge.memory.native.kept_code_dir = lambda: Path(kept.name)
    import numpy as np

    from tests.bridge.kernel.campaign.rounds import Campaign, kind_of

    work = options.dump.parent
    data = np.memmap(options.dump, np.uint8, "r+")
    before = os.dup(1)
    os.dup2(2, 1)  # nothing that is printed by others gets between the messages
    with os.fdopen(before, "w") as messages:
        campaign = Campaign(np.asarray(data), work, path=options.dump, seed=options.seed, limit_s=options.limit)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        for number in range(options.first, options.first + options.rounds):
            kind = options.kind or kind_of(number)
            messages.write(json.dumps({"begins": [number, kind]}) + "\n")
            messages.flush()
            grown_from = _peak_kib(reset=True)
            faulthandler.dump_traceback_later(_HANG_S, exit=True)
            verdict = campaign.run(number, kind)
            faulthandler.cancel_dump_traceback_later()
            grown_kib = _peak_kib() - grown_from
            if grown_kib > _MAX_GROWN_KIB:
                verdict.failures.append(f"memory grew by {grown_kib >> 10:,} MiB")
            messages.write(json.dumps({**vars(verdict), "grown_kib": grown_kib}) + "\n")
            messages.flush()


def _peak_kib(*, reset: bool = False) -> int:
    """The most memory that this process has had since it was last reset (proc_pid_clear_refs(5)), in KiB.

    The dump is shared memory, all of which counts once it was touched: it is left out.
    """
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(status["VmHWM"].split()[0]) - int(status.get("RssShmem", "0").split()[0])


if __name__ == "__main__":
    sys.exit(main())
