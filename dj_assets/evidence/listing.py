"""Which pictures of a folder were drawn last, so that those of earlier verdicts are removed, and no other file."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from dj_assets.store.files import write_atomically

log = logging.getLogger(__name__)

LIST_NAME = "evidence.json"
SUFFIXES = (".jpg", ".webp")


def replace_listed(folder: Path, written: Collection[Path]) -> None:
    """Remove the pictures that the folder's list names and `written` does not have, and list `written` instead.

    written: pictures below `folder`. Raises `StoreError` where the list cannot be written.
    """
    path = folder / LIST_NAME
    names = sorted({one.relative_to(folder).as_posix() for one in written})
    if not names and not path.exists():
        return
    for name in sorted(_listed(path) - set(names)):
        _remove(folder, name)
    text = json.dumps({"pictures": names}, indent=2)

    def write(temporary: Path) -> None:
        temporary.write_text(f"{text}\n", encoding="utf-8")

    write_atomically(path, write)


def _listed(path: Path) -> set[str]:
    """The names on a list; none where there is no list, or one that cannot be read."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["pictures"]
        return {name for name in names if isinstance(name, str)}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.warning("%s cannot be read, older pictures stay beside it: %s", path, error)
        return set()


def _remove(folder: Path, name: str) -> None:
    """Remove one picture. Whoever edits the list has nothing removed that lies elsewhere, or is no picture."""
    given = PurePosixPath(name)
    if given.is_absolute() or ".." in given.parts or given.suffix not in SUFFIXES:
        log.warning("%s in %s is no picture of it, and stays", ascii(name), folder / LIST_NAME)
        return
    path = folder / given
    try:
        if path.parent.resolve().is_relative_to(folder.resolve()):
            path.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        log.warning("an older picture stays: %s: %s", ascii(name), error)
