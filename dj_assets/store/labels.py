"""What people marked by hand, keep or drop, by the content of the video: a file of the store for each recipe."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dj_assets.errors import StoreError
from dj_assets.store import files


@dataclass(frozen=True)
class Label:
    """One mark. path: where the video lay when it was marked, for people. marked_at: UTC, ISO 8601."""

    keep: bool
    path: str
    marked_at: str


def read(root: Path, recipe: str) -> dict[str, Label]:
    """Content hash -> mark. Raises `StoreError` where the file is not as it was written."""
    path = _path(root, recipe)
    try:
        marks = json.loads(path.read_text(encoding="utf-8"))
        return {content_hash: Label(**mark) for content_hash, mark in marks.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} cannot be read: {error}",
            allowed="a JSON object of marks by content hash",
            try_="mend it, or move it aside; marks are made by hand, so nothing here removes it",
        ) from None


def change(root: Path, recipe: str, changes: Mapping[str, Label | None]) -> dict[str, Label]:
    """Add marks, or take back those that are None. Returns all marks. Raises `StoreError`."""
    path = _path(root, recipe)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _changed(path, root, recipe, changes)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}",
            allowed="a store that this user may write",
            try_="mend the rights of the folder",
        ) from error


def _changed(path: Path, root: Path, recipe: str, changes: Mapping[str, Label | None]) -> dict[str, Label]:
    with _alone(path.parent):
        marks = read(root, recipe) | {content_hash: mark for content_hash, mark in changes.items() if mark}
        marks = {content_hash: mark for content_hash, mark in marks.items() if changes.get(content_hash, mark)}
        text = json.dumps({key: asdict(mark) for key, mark in sorted(marks.items())}, indent=1)
        files.write_atomically(path, lambda temporary: _write(temporary, text))
    return marks


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two studios over one recipe must not undo each other's marks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _path(root: Path, recipe: str) -> Path:
    return root / "labels" / f"{files.part(recipe, what='recipe')}.json"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
