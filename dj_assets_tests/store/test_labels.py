"""Marks are made by hand: none is lost when two people mark at once, or when the file is damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dj_assets.errors import StoreError
from dj_assets.store import labels
from dj_assets.store.labels import Label

KEEP, DROP = Label(True, "/v/a.mp4", "2026-11-25T10:00:00+00:00"), Label(False, "/v/b.mp4", "2026-11-25T10:00:01+00:00")


def test_marks_are_made_changed_and_taken_back(tmp_path: Path) -> None:
    assert labels.read(tmp_path, "r") == {}
    assert labels.change(tmp_path, "r", {"a": KEEP, "b": DROP}) == {"a": KEEP, "b": DROP}
    assert labels.change(tmp_path, "r", {"a": DROP, "b": None, "never": None}) == {"a": DROP}
    assert labels.read(tmp_path, "r") == {"a": DROP} and labels.read(tmp_path, "another") == {}


def test_marks_made_at_once_are_all_there(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: labels.change(tmp_path, "r", {f"{number:03d}": KEEP}), range(60)))
    assert len(labels.read(tmp_path, "r")) == 60


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {"keep": true}}', '{"a": 1}'])
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels" / "r.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(StoreError, match=r"labels/r\.json"):
        labels.change(tmp_path, "r", {"a": KEEP})
    assert path.read_text() == text
