"""Data-Juicer's tracer: beside an export, the first samples that each step rejected, a file per step.

res.jsonl
res_trace/filter-<step key>.jsonl       lines as in res_dropped.jsonl, in dataset order, at most `trace_num`
res_trace/duplicate-<step key>.jsonl    the same of a deduplicator
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dj_assets.plan import Plan, Step
from dj_assets.recipe import Recipe
from dj_assets.samples import VERDICT_FIELD
from dj_assets.store.files import write_atomically

_NAME = re.compile(r"(?:filter|duplicate)-([A-Za-z0-9_.-]+)\.jsonl")
_TEMPORARY = re.compile(r"\.(?:filter|duplicate)-[A-Za-z0-9_.-]+\.jsonl\.[0-9a-f]{32}\.tmp")


@dataclass(frozen=True)
class DroppedLines:
    """What left one shard. counts: samples by the key of the step that dropped them.

    read: (step key, JSON line) of each dropped sample, in the order of the dataset.
    """

    counts: Mapping[str, int]
    read: Callable[[], Iterable[tuple[str, bytes]]]


def trace_folder(recipe: Recipe) -> Path:
    """Where a recipe's traces go: `<export>_trace` beside the export, so that exports of one folder do not mix."""
    return recipe.export_path.with_name(f"{recipe.export_path.stem}_trace")


def traced_steps(plan: Plan) -> tuple[Step, ...]:
    """The steps to trace; those of an operator that the recipe lists again are traced one by one."""
    recipe = plan.recipe
    if not recipe.open_tracer:
        return ()
    return tuple(s for s in plan.steps if not recipe.op_list_to_trace or s.operator.name in recipe.op_list_to_trace)


def write_traces(plan: Plan, shards: Sequence[DroppedLines]) -> Path | None:
    """Make the traces beside an export what the recipe asks for. Returns their folder, None where it asks for none.

    A step that rejected nothing has an empty file. Traces that an earlier export left and that are not asked for any
    more are removed; other files in the folder stay. The caller holds the lock of the export's folder.
    Raises `StoreError` where a file cannot be written.
    """
    folder = trace_folder(plan.recipe)
    steps = traced_steps(plan)
    for step in steps:
        _write(folder / f"{_prefix(step)}-{step.key}.jsonl", _rejected(step.key, shards, plan.recipe.trace_num))
    _tidy(folder, {step.key for step in steps})
    return folder if steps else None


def _prefix(step: Step) -> str:
    """As upstream names what its tracer writes of a filter, and of a deduplicator."""
    return "duplicate" if step.rule is not None and step.rule.whole.kind == "deduplicator" else "filter"


def _rejected(key: str, shards: Iterable[DroppedLines], num_samples: int) -> Iterator[bytes]:
    """The first lines that a step dropped. A shard in which it dropped nothing is not read."""
    found = (line for shard in shards if shard.counts.get(key) for step, line in shard.read() if step == key)
    return islice(found, num_samples)


def _write(path: Path, lines: Iterator[bytes]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.writelines(lines)

    write_atomically(path, write)


def _tidy(folder: Path, keys: set[str]) -> None:
    """Remove what is ours and belongs to no step of these keys: traces, and temporary files of merges that died."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if _TEMPORARY.fullmatch(path.name) or (match and match[1] not in keys and _is_ours(path, match[1])):
            path.unlink()
    if not keys:
        with suppress(OSError):  # something else lies in it
            folder.rmdir()


def _is_ours(path: Path, key: str) -> bool:
    """Whether a file is a trace of this step: an empty one, or one whose first line has that step's verdict."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        line = file.readline()
    try:
        return not line or json.loads(line)[VERDICT_FIELD]["step"] == key
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
