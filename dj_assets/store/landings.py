"""What sensors know of landing folders, under a name that follows from the content.

A sensor's cursor holds the name alone: Dagster writes the cursor with every tick, and of ten thousand drops it would
write a megabyte each time. A tick whose cursor was never written has left a file that nobody will ask for.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from dj_assets.store import files

KEPT_SECONDS = 24 * 3600.0
"""How long a file stays after another one was written: a cursor may be a tick behind, and a daemon may be down."""

NEWEST_KEPT = 10


def remember(root: Path, recipe: str, text: str) -> str:
    """Keep what is known. Returns the name to ask for it by. Raises `StoreError`."""
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    folder = _folder(root, recipe)
    path = folder / f"{name}.json"
    if path.exists():
        path.touch()
    else:
        files.write_atomically(path, lambda temporary: _write(temporary, text))
        _prune(folder)
    return name


def recall(root: Path, recipe: str, name: str) -> str | None:
    """What was kept under that name; None where it is not there."""
    try:
        return (_folder(root, recipe) / f"{files.part(name, what='name')}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _prune(folder: Path) -> None:
    kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[NEWEST_KEPT:]:
        if time.time() - path.stat().st_mtime > KEPT_SECONDS:
            path.unlink(missing_ok=True)


def _folder(root: Path, recipe: str) -> Path:
    return root / "landing" / files.part(recipe, what="recipe")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
