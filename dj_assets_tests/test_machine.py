"""Cores and memory as a container's limits leave them, told by files laid out as Linux does; workers sized by both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from dj_assets import machine
from dj_assets.machine import available_mb, cpu_workers, num_cores

MEMINFO = "MemTotal: 16384000 kB\nMemFree: 1024000 kB\nMemAvailable: 8192000 kB\n"
GB = 2**30


@pytest.fixture(autouse=True)
def fresh() -> None:
    available_mb.cache_clear()


def lay_out(folder: Path, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str], *, cores: int = 8) -> None:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(machine, "PROC", folder / "proc")
    monkeypatch.setattr(machine, "GROUPS", folder / "sys")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)


V1 = "5:memory:/jobs/a\n2:cpu,cpuacct:/jobs/a\n1:name=systemd:/\n0::/\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 8, id="no control groups"),
        pytest.param({"proc/self/cgroup": "0::/\n", "sys/cpu.max": "max 100000\n"}, 8, id="no quota"),
        pytest.param({"proc/self/cgroup": "0::/\n", "sys/cpu.max": "200000 100000\n"}, 2, id="two cores"),
        pytest.param({"proc/self/cgroup": "0::/\n", "sys/cpu.max": "250000 100000\n"}, 3, id="a part is rounded up"),
        pytest.param({"proc/self/cgroup": "0::/\n", "sys/cpu.max": "20000 100000\n"}, 1, id="never none"),
        pytest.param(
            {"proc/self/cgroup": "0::/a/b\n", "sys/a/cpu.max": "100000 100000", "sys/a/b/cpu.max": "400000 100000"},
            1,
            id="the group around it allows less",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/outside/only\n", "sys/cpu.max": "300000 100000"}, 3, id="inside a container"
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/cpu,cpuacct/jobs/a/cpu.cfs_quota_us": "400000",
                "sys/cpu,cpuacct/jobs/a/cpu.cfs_period_us": "100000",
            },
            4,
            id="version 1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:cpuacct,cpu:/jobs/a\n",
                "sys/cpu/jobs/a/cpu.cfs_quota_us": "200000",
                "sys/cpu/jobs/a/cpu.cfs_period_us": "100000",
            },
            2,
            id="version 1, mounted with its names in the other order",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/cpu,cpuacct/jobs/a/cpu.cfs_quota_us": "-1",
                "sys/cpu,cpuacct/jobs/a/cpu.cfs_period_us": "100000",
            },
            8,
            id="version 1, no quota",
        ),
    ],
)
def test_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int) -> None:
    lay_out(tmp_path, monkeypatch, files)
    assert num_cores() == expected


def test_affinity_counts_where_it_leaves_less_than_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, monkeypatch, {"proc/self/cgroup": "0::/\n", "sys/cpu.max": "600000 100000"}, cores=2)
    assert num_cores() == 2


@pytest.mark.parametrize(
    ("files", "expected_mb"),
    [
        pytest.param({}, 8000, id="what the machine has"),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/memory.max": str(4 * GB), "sys/memory.current": str(GB)},
            3072,
            id="what the group leaves",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                "sys/memory.max": str(4 * GB),
                "sys/memory.current": str(3 * GB),
                "sys/memory.stat": f"anon {GB}\ninactive_file {2 * GB}\n",
            },
            3072,
            id="caches can be had",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/memory.max": "max", "sys/memory.current": str(GB)}, 8000, id="no limit"
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/memory/jobs/a/memory.limit_in_bytes": str(9223372036854771712),
                "sys/memory/jobs/a/memory.usage_in_bytes": str(GB),
                "sys/memory/jobs/memory.limit_in_bytes": str(2 * GB),
                "sys/memory/jobs/memory.usage_in_bytes": str(GB),
            },
            1024,
            id="version 1, limited by the group around it",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/memory.max": str(GB), "sys/memory.current": str(2 * GB)},
            0,
            id="nothing left",
        ),
        pytest.param({"proc/meminfo": "odd"}, None, id="nobody tells"),
    ],
)
def test_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected_mb: float | None
) -> None:
    lay_out(tmp_path, monkeypatch, files)
    assert available_mb() == expected_mb


@pytest.mark.parametrize(
    ("wanted", "most", "limit_mb", "free_mb", "expected"),
    [
        pytest.param(None, 8, 4096, 64_000, 8, id="as many as cores"),
        pytest.param(None, 8, 4096, 7000, 3, id="as many as fit into memory"),
        pytest.param(None, 8, 512, 7000, 6, id="smaller workers, more of them"),
        pytest.param(None, 8, 4096, 100, 1, id="never none"),
        pytest.param(None, 8, 4096, None, 8, id="memory is not known"),
        pytest.param(4, 8, 4096, 100, 4, id="who names a number gets it"),
        pytest.param(16, 8, 4096, 64_000, 8, id="but no more than cores"),
    ],
)
def test_workers(
    monkeypatch: pytest.MonkeyPatch,
    wanted: int | None,
    most: int,
    limit_mb: int,
    free_mb: float | None,
    expected: int,
) -> None:
    monkeypatch.setattr(machine, "available_mb", lambda: free_mb)
    assert cpu_workers(wanted, most=most, memory_mb=limit_mb) == expected


def test_workers_stay_as_many_when_memory_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another number would be another pool: the second shard of a run would start every worker anew."""
    lay_out(tmp_path, monkeypatch, {"proc/meminfo": "MemAvailable: 8388608 kB"})
    before = cpu_workers(None, most=8, memory_mb=4096)
    lay_out(tmp_path, monkeypatch, {"proc/meminfo": "MemAvailable: 4194304 kB"})
    assert (before, cpu_workers(None, most=8, memory_mb=4096)) == (4, 4)


def test_this_machine_has_something() -> None:
    assert num_cores() >= 1
    assert (available_mb() or 1) > 0
