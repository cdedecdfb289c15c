"""What sensors know, kept under a name of its own."""

from __future__ import annotations

import os

import pytest

from dj_assets.errors import StoreError
from dj_assets.store import landings
from dj_assets.store.store import Store


def test_what_is_kept_is_found_by_its_name_even_when_more_was_kept_since(store: Store) -> None:
    first = store.remember_landing("clips", "one, ю")
    second = store.remember_landing("clips", "two")
    assert store.remember_landing("clips", "one, ю") == first
    assert [store.recall_landing("clips", name) for name in (first, second)] == ["one, ю", "two"]
    assert store.recall_landing("other", first) is None


def test_old_ones_go_and_the_newest_stay(store: Store) -> None:
    names = [store.remember_landing("clips", str(number)) for number in range(30)]
    folder = store.root / "landing" / "clips"
    for age, name in enumerate(reversed(names)):
        past = folder.joinpath(f"{name}.json").stat().st_mtime - landings.KEPT_SECONDS - 60 * (age + 1)
        os.utime(folder / f"{name}.json", (past, past))
    newest = store.remember_landing("clips", "the newest")
    left = {path.stem for path in folder.iterdir()}
    assert left == {newest, *names[-landings.NEWEST_KEPT + 1 :]}


def test_a_name_is_no_path(store: Store) -> None:
    with pytest.raises(StoreError):
        store.recall_landing("clips", "../../secret")
