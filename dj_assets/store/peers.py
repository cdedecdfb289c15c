"""What other shards of a recipe say, from few files and few columns: what a shard is compared with."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from dj_assets.store import files

log = logging.getLogger(__name__)

MOST_FILES = 20
"""Files opened per question, the newest: enough to know what is usual, few enough in a store of any size."""


def numbers(folder: Path, *, code_version: str, but_not: Collection[str]) -> dict[str, dict[str, list[float]]]:
    """shard → stat → the numbers that there are, of stats tables in a folder."""
    found: dict[str, dict[str, list[float]]] = {}
    for shard, columns in _newest(folder, ["stat", "value"], code_version, but_not):
        of_shard = found.setdefault(shard, {})
        for stat, value in zip(columns["stat"], columns["value"], strict=True):
            if value is not None:
                of_shard.setdefault(stat, []).append(value)
    return found


def outcomes(folder: Path, *, code_version: str, but_not: Collection[str]) -> dict[str, Counter[str]]:
    """shard → outcome → samples, of verdict tables in a folder."""
    read = _newest(folder, ["outcome"], code_version, but_not)
    return {shard: Counter(columns["outcome"]) for shard, columns in read}


def _newest(
    folder: Path, columns: Sequence[str], code_version: str, but_not: Collection[str]
) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """(shard, values by column) of the newest tables of this code version; a file that cannot be read is passed by."""
    for path in _newest_paths(folder, but_not):
        try:
            with files.open_parquet(path) as file:
                if files.provenance_of(file).code_version == code_version:
                    yield path.stem, file.read(columns=list(columns), use_threads=False).to_pydict()
        except (OSError, files.Damaged) as error:  # replaced or removed meanwhile, or damaged: one voice less
            log.debug("not compared with %s: %s", path, error)


def _newest_paths(folder: Path, but_not: Collection[str]) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.stat().st_mtime, entry.path)
                for entry in entries
                if entry.name.endswith(".parquet") and entry.name.removesuffix(".parquet") not in but_not
            ]
    except FileNotFoundError:
        return []
    return [Path(path) for _, path in sorted(found, reverse=True)[:MOST_FILES]]
