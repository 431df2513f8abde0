"""A writer that is killed at any instant leaves a whole database, with all that it had finished."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from bridge.semantic.store.reader import ReadOnly

_ROOT = Path(__file__).resolve().parents[4]
_WRITE = """
import os
import sys
from pathlib import Path
from bridge.semantic.store.forgetting import Limits
from bridge.semantic.store.writer import Store
from tests.bridge.semantic.store.made_up import census, row, symbols

def write(path):
    print(os.getpid(), flush=True)
    store = Store.open(Path(path), Limits(max_bytes=1 << 20, history_s=20.0))
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=0.0)
    number = 0
    while True:
        number += 1
        rows = [row("processes", pid, uid=number, command_line="x" * 300) for pid in range(50)]
        runs = [row("page_runs", 4096 * at, n_pages=number) for at in range(50)]
        seen = census(number, number - 1, {"processes": (rows, []), "page_runs": (runs, [])})
        kernel = store.write(machine, seen, number)
        if number == 3:
            for _ in store.write_symbols(kernel, symbols(*((f"s{at}", at, "t") for at in range(500)))):
                pass
        if number % 7 == 0:
            store.forget(float(number))
        print(number, flush=True)

for line in sys.stdin:
    child = os.fork()
    if not child:
        write(line.rstrip())
    os.waitpid(child, 0)
    print("ended", flush=True)
"""
"""Writes into each database that it is told of, in a child that goes on until it is killed."""


def test_a_killed_writer_leaves_a_whole_database(tmp_path: Path) -> None:
    rng = random.Random(11)
    writer = subprocess.Popen(
        [sys.executable, "-P", "-c", _WRITE],
        cwd=_ROOT,
        env={"PYTHONPATH": str(_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    for attempt in range(12):
        path = tmp_path / f"{attempt}.db"
        writer.stdin.write(f"{path}\n")
        writer.stdin.flush()
        child, finished = int(writer.stdout.readline()), 0
        for _ in range(rng.randrange(1, 25)):
            finished = int(writer.stdout.readline())
        time.sleep(rng.random() * 0.01)  # somewhere in the middle of the next
        os.kill(child, signal.SIGKILL)
        while (line := writer.stdout.readline()) != "ended\n":
            finished = int(line)
        # Read first as a reader would, who may not repair anything.
        with ReadOnly(path) as reader:
            said = reader.query("SELECT max(time_s) FROM snapshots").rows[0][0]
            assert said in (finished, finished + 1)
            assert reader.query("SELECT count(*), min(uid), max(uid) FROM now_processes").rows == ((50, said, said),)
            assert reader.query("SELECT count(*), min(n_pages), max(n_pages) FROM pages").rows == ((50, said, said),)
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()
        assert path.stat().st_size <= 1 << 20
    writer.stdin.close()
    writer.wait()
    writer.stdout.close()
