"""Benchmarks count the CPU seconds of everything that a command starts, or say that they cannot."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks import trees

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and asks Linux to hand over orphans")

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
ORPHAN = """\
import os, subprocess, sys
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        exec({burn!r})
    os._exit(0)
os.wait()
"""
KILLED = """\
import subprocess, sys, time
burn = {burn!r} + "print(1, flush=True)\\ntime.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE)
child.stdout.readline()
child.kill()
child.wait()
"""
FORGOTTEN = """\
import signal, subprocess, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", {burn!r}])
while child.poll() is None: time.sleep(0.1)
"""


def cost(program: str, *, burn_seconds: float) -> trees.Cost:
    text = program.format(burn=BURN.format(seconds=burn_seconds))
    return trees.run([sys.executable, "-c", text], folder=Path.cwd(), environment=os.environ)


@pytest.mark.parametrize("program", [ORPHAN, KILLED], ids=["outlives the command", "killed by its parent"])
def test_no_cpu_second_of_a_tree_is_lost(program: str) -> None:
    assert 0.8 <= cost(program, burn_seconds=0.8).cpu_seconds < 1.6


def test_children_that_the_kernel_forgets_are_noticed() -> None:
    with pytest.raises(RuntimeError, match="CPU seconds were lost"):
        cost(FORGOTTEN, burn_seconds=2.0)


def test_memory_of_a_tree_is_that_of_all_its_processes_and_not_only_the_largest() -> None:
    hold = "import time; held = b'x' * (100 * 2**20); time.sleep(1.5)"
    start = f"subprocess.Popen([sys.executable, '-c', {hold!r}])"
    two = f"import subprocess, sys; one, other = {start}, {start}; one.wait(); other.wait()"
    found = trees.run([sys.executable, "-c", two], folder=Path.cwd(), environment=os.environ)
    assert 100 <= found.peak_process_mb < 150
    assert 200 <= found.peak_tree_mb < 300


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(trees.CommandFailed, match=r"(?s)exit code 7.*last words"):
        trees.run(
            [sys.executable, "-c", "print('last words'); raise SystemExit(7)"],
            folder=Path.cwd(),
            environment=os.environ,
        )
