"""What other shards say: the newest files of the same code version, whatever lies beside them."""

from __future__ import annotations

import os
from dataclasses import replace

from dj_assets.store.peers import MOST_FILES
from dj_assets.store.store import Store
from dj_assets_tests.store.nouns import PROVENANCE, a_row, a_verdict

STEP = "video_motion_score_filter"


def write(store: Store, shard: str, *values: float | None, code_version: str = "m1") -> None:
    rows = [a_row(n, value=value) for n, value in enumerate(values)]
    path = store.write_stats("space", STEP, shard, rows, replace(PROVENANCE, code_version=code_version))
    moment = 1_700_000_000 + int(shard)
    os.utime(path, (moment, moment))


def numbers(store: Store, *but_not: str) -> dict[str, dict[str, list[float]]]:
    return store.numbers_of_others("space", STEP, code_version="m1", but_not=but_not)


def test_numbers_of_the_other_shards_of_the_same_measure(store: Store) -> None:
    write(store, "1", 1.0, None, 2.0)
    write(store, "2", 3.0)
    write(store, "3", 4.0, code_version="m2")
    write(store, "4", None)
    assert numbers(store, "2") == {"1": {"video_motion_score": [1.0, 2.0]}, "4": {}}


def test_outcomes_of_the_other_shards(store: Store) -> None:
    verdicts = [a_verdict(1), replace(a_verdict(2), outcome="kept"), a_verdict(3)]
    store.write_verdicts("space", "1", verdicts, replace(PROVENANCE, code_version="b1"))
    store.write_verdicts("space", "2", verdicts[:1], replace(PROVENANCE, code_version="b0"))
    found = store.outcomes_of_others("space", code_version="b1", but_not=["9"])
    assert found == {"1": {"dropped": 2, "kept": 1}}


def test_only_the_newest_files_are_opened(store: Store) -> None:
    for n in range(MOST_FILES + 3):
        write(store, str(n), float(n))
    assert set(numbers(store)) == {str(n) for n in range(3, MOST_FILES + 3)}


def test_a_damaged_file_is_one_voice_less(store: Store) -> None:
    write(store, "1", 1.0)
    write(store, "2", 2.0)
    store.stats_path("space", STEP, "1").write_bytes(b"PAR1 no more")
    assert set(numbers(store)) == {"2"}


def test_nothing_there_is_nothing_to_compare_with(store: Store) -> None:
    assert numbers(store) == {}
    assert store.outcomes_of_others("space", code_version="b1", but_not=[]) == {}
