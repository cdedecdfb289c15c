"""Unchanged files are not read again, and nothing else is taken for unchanged."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dj_assets.measure import identify
from dj_assets.recipe import Limits
from dj_assets.samples import Sample, Shard, Video
from dj_assets.store.store import Store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "media" / "a.mp4"
    path.parent.mkdir()
    path.write_bytes(b"first")
    _age(path, seconds=60)
    return path


def _age(path: Path, *, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def _sample(path: Path) -> Sample:
    return Sample("ds:1", "ds", 1, {}, (Video("videos", 0, path.name, str(path)),))


def _shard(tmp_path: Path) -> Shard:
    return Shard("ds-00000", "ds", tmp_path / "ds.jsonl", 0, 1000)


def _remembered(store: Store, path: Path, tmp_path: Path) -> str:
    [found] = identify([_sample(path)], roots=[path.parent], limits=Limits())
    store.remember_identities(_shard(tmp_path), [found])
    return found.videos[0].content_hash


def _identified(store: Store, path: Path, tmp_path: Path) -> Video:
    known = store.recall_identities(_shard(tmp_path))
    [found] = identify([_sample(path)], roots=[path.parent], limits=Limits(), known=known)
    return found.videos[0]


def test_an_unchanged_file_is_not_read(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    before = _remembered(store, file, tmp_path)

    def no_reading(*args: object) -> None:
        raise AssertionError("the file was read")

    monkeypatch.setattr("hashlib.file_digest", no_reading)
    assert _identified(store, file, tmp_path).content_hash == before


@pytest.mark.parametrize(("change", "content"), [("size", b"longer than before"), ("time", b"FIRST")])
def test_a_changed_file_is_read(tmp_path: Path, file: Path, change: str, content: bytes) -> None:
    store = Store(tmp_path / "store")
    before = _remembered(store, file, tmp_path)
    file.write_bytes(content)
    assert _identified(store, file, tmp_path).content_hash != before, change


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path, file: Path) -> None:
    store = Store(tmp_path / "store")
    file.write_bytes(b"fresh")
    _remembered(store, file, tmp_path)
    assert store.recall_identities(_shard(tmp_path)) == {}


def test_a_remembered_file_must_still_lie_inside_the_roots(tmp_path: Path, file: Path) -> None:
    store = Store(tmp_path / "store")
    _remembered(store, file, tmp_path)
    known = store.recall_identities(_shard(tmp_path))
    [found] = identify([_sample(file)], roots=[tmp_path / "elsewhere"], limits=Limits(), known=known)
    assert found.videos[0].status == "refused"


def test_other_slices_and_damaged_notes_know_nothing(tmp_path: Path, file: Path) -> None:
    store = Store(tmp_path / "store")
    _remembered(store, file, tmp_path)
    assert store.recall_identities(Shard("ds-00001", "ds", tmp_path / "ds.jsonl", 1000, 1000)) == {}
    [note] = (tmp_path / "store" / "identities").rglob("*.json")
    note.write_text("[1, 2")
    assert store.recall_identities(_shard(tmp_path)) == {}
