"""A file that shrinks under its mapping: guarded mappings read on, others end the process as they always did."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np

from bridge.memory import bus_errors
from bridge.memory.ram import GuestRam

ROOT = Path(__file__).resolve().parents[3]


def child(code: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own: one of them is meant to die."""
    setup = """
        import mmap, os
        import numpy as np
        from bridge.memory import bus_errors
        fd = os.memfd_create("shrinking")
        os.ftruncate(fd, 1 << 20)
        data = np.frombuffer(mmap.mmap(fd, 1 << 20, prot=mmap.PROT_READ), np.uint8)
        os.pwrite(fd, bytes([7]) * (1 << 20), 0)
    """
    return subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(setup) + textwrap.dedent(code)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_guarded_mapping_reads_zeros_where_its_file_ends() -> None:
    done = child(
        """
        bus_errors.guard(data.ctypes.data, data.nbytes)
        os.ftruncate(fd, 8192)
        print(int(data.sum()), int(data[8191]), int(data[8192]))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(7 * 8192), "7", "0"]


def test_other_mappings_end_the_process_as_before() -> None:
    for code in (
        "bus_errors.guard(data.ctypes.data + (1 << 20), 4096)",
        "bus_errors.guard(data.ctypes.data, data.nbytes); bus_errors.release(data.ctypes.data)",
    ):
        done = child(code + "\nos.ftruncate(fd, 8192)\nprint('reading', flush=True)\ndata.sum()\nprint('alive')")
        assert done.stdout == "reading\n"
        assert done.returncode == -signal.SIGBUS


def test_many_mappings_are_kept_apart() -> None:
    """More than there is room for: the first are guarded, none is mixed up, and all places come back."""
    starts = [(1 << 40) + (i << 20) for i in range(300)]
    for start in starts:
        bus_errors.guard(start, 4096)
    used = bus_errors._ranges.reshape(-1, 2)
    assert (used[:, 1] > 0).all()
    for start in starts:
        bus_errors.release(start)
    assert not np.isin(used[used[:, 1] > 0, 0], np.array(starts, np.uint64)).any()


def test_readers_in_other_threads_go_on(tmp_path: Path) -> None:
    """Files that shrink while threads read them as fast as they can, again and again."""
    for _ in range(20):
        path = tmp_path / "shrinking.ram"
        path.write_bytes(bytes([1]) * (8 << 20))
        ram = GuestRam.open(path)
        data = ram.bytes
        bus_errors.guard(data.ctypes.data, data.nbytes)
        sums: list[int] = []
        threads = [threading.Thread(target=lambda data=data, sums=sums: sums.append(int(data.sum()))) for _ in range(3)]
        for thread in threads:
            thread.start()
        with path.open("r+b") as file:
            file.truncate(4096)
        for thread in threads:
            thread.join()
        assert all(4096 <= total <= 8 << 20 for total in sums)
        bus_errors.release(data.ctypes.data)
        ram.close()
