"""Programs that stay up and are asked clip by clip, in turn: a noisy minute of the machine falls on all of them.

Each is a process with its own Python, so that the peer's libraries and ours do not meet. A question is a line of JSON
on its input, an answer one on its output; CPU and wall seconds are taken in there, around the work alone.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


KEEPS_MEMORY = {name: str(2**30) for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")}
"""Has glibc keep what is freed. Without it the floor, which does little else than allocate pictures and flows, spends a
tenth of its time on getting zeroed pages from the kernel, and would not be a floor."""


@dataclass(frozen=True)
class Answer:
    """What came back, what it cost, and the highest resident memory of the process so far in MB."""

    value: Any
    cpu_seconds: float
    wall_seconds: float
    peak_mb: float


class Failed(RuntimeError):
    """The work raised; the message is its traceback."""


class Contestant:
    """A running program that answers. Use inside `running`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, what: str, **given: Any) -> Answer:
        """Raises `Failed` where the work does, and EOFError where the program is gone."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, "given": given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(f"exit code {self._process.wait()} in the middle of {what} {given}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return Answer(**answer)


@contextmanager
def running(module: str, *, python: str = sys.executable, environment: Mapping[str, str] = {}) -> Iterator[Contestant]:
    """Start a module of this folder under some Python; it is ended at the end."""
    known = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
    command = [python, "-m", f"benchmarks.{module}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=known, cwd=ROOT)
    try:
        yield Contestant(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """In the program itself: answer until the input ends. What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = _answered(handlers[question["what"]], question["given"])
        except Exception:
            import traceback

            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answered(work: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    value = work(**given)
    cpu_seconds, wall_seconds = time.process_time() - cpu, time.perf_counter() - wall
    return {"value": value, "cpu_seconds": cpu_seconds, "wall_seconds": wall_seconds, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """Highest resident memory of this program. Not `ru_maxrss`: a new program inherits that of whoever started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 2**10


def median(answers: Sequence[Answer]) -> Answer:
    """Of several answers to one question: the first's value, medians of the costs, the highest peak."""
    return Answer(
        answers[0].value,
        statistics.median(answer.cpu_seconds for answer in answers),
        statistics.median(answer.wall_seconds for answer in answers),
        max(answer.peak_mb for answer in answers),
    )


def total(answers: Sequence[Answer]) -> Answer:
    """Of answers to several questions: all their costs, the highest peak, and no value."""
    return Answer(
        None,
        sum(answer.cpu_seconds for answer in answers),
        sum(answer.wall_seconds for answer in answers),
        max(answer.peak_mb for answer in answers),
    )
