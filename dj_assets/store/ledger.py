"""The ledger: one small JSON file per materialization, never rewritten; history outlives the tables."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from dj_assets.store.files import write_atomically
from dj_assets.store.rows import Provenance

COLUMNS: Mapping[str, tuple[str, str]] = {
    "materialization_id": ("VARCHAR", "the record's own id"),
    "kind": ("VARCHAR", "samples, stats or verdicts"),
    "asset": ("VARCHAR", "asset key, joined by /"),
    "shard": ("VARCHAR", "partition key"),
    "recipe": ("VARCHAR", "recipe that asked"),
    "recipe_sha256": ("VARCHAR", "its content"),
    "code_version": ("VARCHAR", "measure id, or a digest of the bounds"),
    "run_id": ("VARCHAR", "run that wrote it"),
    "created_at": ("VARCHAR", "UTC, ISO 8601"),
    "rows": ("BIGINT", "rows in the file"),
    "num_bytes": ("BIGINT", "size of the file"),
    "path": ("VARCHAR", "the file, relative to the store; a later materialization may have replaced it"),
    "versions": ("VARCHAR", "software that wrote it"),
}
"""Field -> SQL type and meaning. Fields are only ever added."""


def append(root: Path, *, kind: str, path: Path, provenance: Provenance) -> Path:
    """Record that `path` was written. Raises `StoreError`."""
    record = {
        "materialization_id": uuid.uuid4().hex,
        "kind": kind,
        **asdict(provenance),
        "num_bytes": path.stat().st_size,
        "path": path.relative_to(root).as_posix(),
    }
    day = provenance.created_at[:10]
    entry = root / "ledger" / day / f"{record['materialization_id']}.json"
    # One object per line: a day's records can be concatenated and still be read as they are.
    line = json.dumps({name: record[name] for name in COLUMNS}) + "\n"
    write_atomically(entry, lambda temporary: _write(temporary, line))
    return entry


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
