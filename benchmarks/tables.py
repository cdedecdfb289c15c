"""Tables in markdown, printed and kept in `.bench/results`; the machine in words; the rates that every table has."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".bench" / "results"
"""Not in git: what the commands printed last."""

COST_HEADINGS = (
    "CPU s",
    "wall s",
    "clips / min",
    "video-hours / core-day",
    "peak process, MB",
    "peak tree, MB",
)


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is words, the others are numbers."""
    ruler = ["---"] + ["---:"] * (len(headings) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (headings, ruler, *rows))


def publish(name: str, parts: Iterable[str], *, quick: bool) -> None:
    """Print a report and keep it as `.bench/results/<name>.md`; a trial's beside it as `<name>-quick.md`."""
    text = "\n\n".join(parts) + "\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}{'-quick' if quick else ''}.md"
    partial = path.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    print(f"\n{text}\nkept in {path.relative_to(ROOT)}")


def machine() -> str:
    """The machine in words, and how busy it was when the command began."""
    cpu = _first(Path("/proc/cpuinfo"), r"model name\s*:\s*(.+)") or platform.machine()
    flags = (_first(Path("/proc/cpuinfo"), r"flags\s*:\s*(.+)") or "").split()
    memory_kb = int(_first(Path("/proc/meminfo"), r"MemTotal:\s*(\d+)") or 0)
    virtual = ", virtual" if "hypervisor" in flags else ""
    extras = [word for word in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if word in flags]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("av", "opencv-python-headless", "torch", "numpy"))
    return (
        f"Machine: {os.cpu_count()} cores ({cpu}{virtual}; {', '.join(extras)}), {memory_kb / 2**20:.0f} GB; "
        f"load when it began {os.getloadavg()[0]:.1f}. Python {platform.python_version()}, {libraries}; no GPU used."
    )


def _first(path: Path, pattern: str) -> str | None:
    found = re.search(pattern, path.read_text(encoding="utf-8")) if path.exists() else None
    return found[1].strip() if found else None


def cost_cells(
    *,
    clips: int,
    video_seconds: float,
    cpu_seconds: float,
    wall_seconds: float,
    peak_process_mb: float | None,
    peak_tree_mb: float | None,
) -> list[str]:
    """The cells below `COST_HEADINGS`."""
    return [
        number(cpu_seconds),
        number(wall_seconds),
        number(60 * clips / wall_seconds),
        number(24 * video_seconds / cpu_seconds),
        "-" if peak_process_mb is None else f"{peak_process_mb:.0f}",
        "-" if peak_tree_mb is None else f"{peak_tree_mb:.0f}",
    ]


def number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3g}"


def ratio(one: float | None, other: float | None) -> str:
    """How many times more the first is than the second; a dash where either is not known."""
    return f"{one / other:.2f}" if one is not None and other else "-"


def agreement(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[int, int, float]:
    """(values that agree within 1e-6 of the larger, values compared, largest relative difference).

    Compared are the names that both have.
    """
    differences = [
        abs(ours[name] - theirs[name]) / max(abs(ours[name]), abs(theirs[name]), 1e-12)
        for name in ours.keys() & theirs.keys()
    ]
    return sum(difference <= 1e-6 for difference in differences), len(differences), max(differences, default=0.0)
