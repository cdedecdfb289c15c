"""What this process may use of its machine: cores and memory, as affinity and control groups leave them to it; and how
many workers that bears."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")

WORKER_MB = 1024
"""What one worker of a CPU pass is reckoned with, in MB: 1080p takes half of that, 4K most of it. Less where the recipe
allows it less. Not the recipe's limit itself (4096), which ends the one worker that met a bomb: reckoned with that, a
machine of 4 GB a core would leave half of its cores idle."""

PASSES_AT_ONCE = 2
"""Passes of pool `cpu` that an instance has at work unless somebody says otherwise: each with a worker for every core,
so that the next shard's videos are there when the last ones of this shard leave cores idle; more would only wait for
each other, until videos time out. Memory is shared between them."""


def num_cores() -> int:
    """Cores that this process may use, by its affinity and the quotas of its control groups. Part of one is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas())]))


@cache
def available_mb() -> float | None:
    """Memory that was to be had when this process first asked, in MB; None where the system does not tell.

    By the machine and by the limits of its control groups, caches counted as free. Not asked again: later the answer
    would count what the process's own workers hold, and each change of mind would start them anew.
    """
    known = [*_free_of_machine(), *_free_of_groups()]
    return max(0.0, min(known)) if known else None


def cpu_workers(wanted: int | None, *, most: int, memory_mb: int) -> int:
    """Worker processes for a pass, at least 1.

    wanted: by whoever asks for a number; it is honoured up to `most`. None: as many as `most` and memory bear.
    most: usually the cores. memory_mb: what one worker may hold at most.
    """
    if wanted is not None:
        return max(1, min(wanted, most))
    free = available_mb()
    that_fit = most if free is None else int(free / PASSES_AT_ONCE // min(memory_mb, WORKER_MB))
    return max(1, min(most, that_fit))


def _quotas() -> Iterator[float]:
    """Cores that each control group allows, where it sets a quota."""
    for group in _groups("cpu"):
        words = _words(group / "cpu.max") or [_word(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        counts = [int(word) for word in words if _is_count(word)]
        if len(counts) == 2:
            yield counts[0] / counts[1]


def _free_of_machine() -> Iterator[float]:
    words = _words(PROC / "meminfo")
    if "MemAvailable:" in words:
        yield int(words[words.index("MemAvailable:") + 1]) / 1024


def _free_of_groups() -> Iterator[float]:
    for group in _groups("memory"):
        for limit_name, usage_name, cache_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            counts = [int(word) for word in (_word(group / limit_name), _word(group / usage_name)) if _is_count(word)]
            if len(counts) == 2:
                stat = _words(group / "memory.stat")
                cached = int(stat[stat.index(cache_name) + 1]) if cache_name in stat else 0
                yield (counts[0] - counts[1] + cached) / 2**20


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, of either version, each with those around it. Inside a
    container a path may be told that is only there outside of it; its own group is then the root."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS
        if controllers:  # `cpuacct,cpu` may be mounted as `cpu,cpuacct`; links by single name are where there are two
            root = GROUPS / (controllers if (GROUPS / controllers).is_dir() else controller)
        folder = root / path.lstrip("/")
        while True:
            if folder.is_dir():
                yield folder
            if folder == root or root not in folder.parents:
                break
            folder = folder.parent


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _word(file: Path) -> str:
    """The first; empty where there is none."""
    return next(iter(_words(file)), "")


def _is_count(word: str) -> bool:
    """No `max`, which is version 2's word for no limit, and no -1, which is version 1's. Nor 0."""
    return word.isdecimal() and int(word) > 0
