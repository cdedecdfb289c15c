"""What a command costs with everything that it starts: wall, CPU seconds, memory; and several commands in turn.

The command runs under a small process of its own, which orphans fall to (Linux's child subreaper) and which waits for
every one of them. So the CPU seconds are the kernel's own sum over all descendants, also of worker pools that are
stopped or killed at the end, and the largest process's peak is the kernel's, too. The peak of the tree is sampled:
proportional set sizes, in which a page that n processes share counts 1/n in each.

    benchmark ──► this file as a script (subreaper) ──► command ──► workers ──► …
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

SAMPLE_SECONDS = 0.25
SAMPLER_SHARE = 0.02
"""Of a core that looking at the tree may take; it looks less often where the tree is large."""

STALLED_SECONDS = 240.0
STALLED_SHARE = 0.04
"""A tree that used less than this share of a core for so long hangs (forked thread pools do) and is killed."""

GRACE_SECONDS = 15.0
"""What outlives the command for longer than this is killed, and its CPU seconds until then are counted."""

PR_SET_CHILD_SUBREAPER = 36
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Of one run, or medians over several. Memory in MB (2**20 bytes).

    sampled_cpu_seconds: a lower bound of `cpu_seconds` by another route, to check it.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_process_mb: float
    peak_tree_mb: float
    sampled_cpu_seconds: float = 0.0


class CommandFailed(RuntimeError):
    """A command hung, or left with another exit code than it should; the message ends with what it printed last."""


def run(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path | None = None,
    allowed_codes: Sequence[int] = (0,),
) -> Cost:
    """Run a command to its end in `folder`. environment: the whole of it. log: gets what it prints.

    Raises `CommandFailed`, and RuntimeError where part of the CPU seconds was lost: a process of the tree had told the
    kernel to forget its children.
    """
    with tempfile.TemporaryDirectory(prefix="dj-assets-tree-") as scratch:
        report = Path(scratch) / "report.json"
        said = log or Path(scratch) / "said.log"
        with said.open("wb") as output:
            subprocess.run(
                [sys.executable, "-I", __file__, str(report), *command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=True,
            )
        found = json.loads(report.read_text(encoding="utf-8"))
        code, stalled = found.pop("exit_code"), found.pop("stalled")
        if stalled or code not in allowed_codes:
            end = said.read_text(encoding="utf-8", errors="replace")[-4000:]
            what = f"hung for {STALLED_SECONDS:.0f} s" if stalled else f"exit code {code}, expected {allowed_codes}"
            raise CommandFailed(f"{what}: {' '.join(command)}:\n{end}")
    cost = Cost(**found)
    if cost.sampled_cpu_seconds > 1.02 * cost.cpu_seconds + 1:
        raise RuntimeError(f"CPU seconds were lost: {cost} of {' '.join(command)}")
    return cost


def in_turn(commands: Mapping[str, Callable[[int], Cost]], *, repeat: int) -> dict[str, list[Cost]]:
    """Run all of them `repeat` times, A B A B …, so that a machine that changes its speed changes it for all."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for number in range(repeat):
        for name, work in commands.items():
            cost = work(number)
            costs[name].append(cost)
            spent = f"{cost.wall_seconds:.1f} s wall, {cost.cpu_seconds:.1f} CPU s, {cost.peak_tree_mb:.0f} MB"
            print(f"  {name}: {spent}", flush=True)
    return costs


def median(costs: Sequence[Cost]) -> Cost:
    """Field by field."""
    return Cost(*(statistics.median(getattr(cost, field.name) for cost in costs) for field in fields(Cost)))


# --- the process above the command ------------------------------------------------------------------------------------


def _watch(report: Path, command: Sequence[str]) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sampler = _Sampler()
    started = time.perf_counter()
    child = subprocess.Popen(command)
    sampler.start()
    code, wall_seconds = _wait_for(child.pid, started)
    _wait_for_rest()
    sampler.stop()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = Cost(
        wall_seconds=wall_seconds,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_process_mb=used.ru_maxrss / 2**10,
        peak_tree_mb=sampler.peak_mb,
        sampled_cpu_seconds=sum(sampler.cpu_seconds.values()),
    )
    outcome = {"exit_code": code, "stalled": sampler.stalled, **asdict(cost)}
    report.write_text(json.dumps(outcome), encoding="utf-8")


def _wait_for(pid: int, started: float) -> tuple[int, float]:
    """(exit code, seconds until it came). Orphans that end meanwhile are taken in on the way."""
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            return os.waitstatus_to_exitcode(status), time.perf_counter() - started


def _wait_for_rest() -> None:
    """Take in what the command left running."""
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended:
            continue
        if time.monotonic() > deadline:
            for pid in descendants(os.getpid()):
                _kill(pid)
        time.sleep(0.02)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class _Sampler:
    """Looks at the tree a few times a second; kills it where it stands still."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self.stalled = False
        self.cpu_seconds: dict[tuple[int, int], float] = {}
        """By process id and start time, since ids are used again."""
        self._moved_at = time.monotonic()
        self._moved_from = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        pause = SAMPLE_SECONDS
        while not self._ended.wait(pause):
            began = time.thread_time()
            found = descendants(os.getpid())
            self._look(found)
            self._end_if_stalled(found)
            pause = max(SAMPLE_SECONDS, (time.thread_time() - began) / SAMPLER_SHARE)

    def _look(self, found: Sequence[int]) -> None:
        kilobytes = 0
        for pid in found:
            stat = _stat(pid)
            if stat is None:
                continue
            self.cpu_seconds[pid, int(stat[19])] = (int(stat[11]) + int(stat[12])) / TICKS_PER_SECOND
            kilobytes += _proportional_kb(pid)
        self.peak_mb = max(self.peak_mb, kilobytes / 2**10)

    def _end_if_stalled(self, found: Sequence[int]) -> None:
        passed, used = time.monotonic() - self._moved_at, sum(self.cpu_seconds.values())
        if used - self._moved_from >= STALLED_SHARE * STALLED_SECONDS:
            self._moved_at, self._moved_from = time.monotonic(), used
        elif passed > STALLED_SECONDS:
            self.stalled = True
            for pid in found:
                _kill(pid)


def descendants(pid: int) -> list[int]:
    """Children of a process, and theirs, that exist now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    return list(_below(pid, children))


def _below(pid: int, children: Mapping[int, Sequence[int]]) -> Iterator[int]:
    for child in children.get(pid, ()):
        yield child
        yield from _below(child, children)


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on; None once the process is gone. Its name may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _proportional_kb(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass  # gone, or a zombie
    return 0


if __name__ == "__main__":
    _watch(Path(sys.argv[1]), sys.argv[2:])
