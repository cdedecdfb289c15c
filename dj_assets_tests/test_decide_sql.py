"""One query over a store gives what `decide` gives shard by shard, whatever the tables hold."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_assets.decide import decide, summarize
from dj_assets.decide_sql import verdicts, write_kept, write_verdicts
from dj_assets.plan import Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample, Video
from dj_assets.store.rows import Provenance, Row, Verdict
from dj_assets.store.store import Store
from dj_assets_tests.plans import a_broken_sample, a_fact, a_plan, a_sample, a_step, a_table

ORIGIN = Provenance(asset="", shard="", recipe="r", recipe_sha256="", code_version="")
MOTION = StatRange("motion", 2.0, inf, high_is_set=False)

Tables = dict[str, list[Row]]
Shards = dict[str, tuple[list[Sample], Tables]]


def write_shards(store: Store, shards: Shards) -> None:
    for shard, (samples, tables) in shards.items():
        store.write_samples("r", shard, samples, replace(ORIGIN, shard=shard))
        for key, rows in tables.items():
            store.write_stats("r", key, shard, rows, replace(ORIGIN, shard=shard))


def one_shard(plan: Plan, samples: list[Sample], tables: Tables, folder: Path) -> list[Verdict]:
    store = Store(folder)
    write_shards(store, {"ds-00000": (samples, tables)})
    return verdicts(plan, store)


NUMBERS = st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0, 3.0, -1.0, inf, -inf, nan])
VALUES = st.one_of(NUMBERS, st.sampled_from([None, "timed_out", "skipped", "unreadable"]))
ENDS = st.sampled_from([-inf, -1.0, 1.0, 1.5, 2.0, 3.0, inf])


@st.composite
def ranges(draw: st.DrawFn, stat: str) -> StatRange:
    return StatRange(stat, draw(ENDS), draw(ENDS), draw(st.booleans()), draw(st.booleans()), draw(st.booleans()))


@st.composite
def steps(draw: st.DrawFn, number: int) -> Step:
    stats = [f"s{number}_{n}" for n in range(draw(st.integers(1, 3)))]
    return a_step(
        f"step_{number}",
        *(draw(ranges(stat)) for stat in stats),
        any_or_all=draw(st.sampled_from(["any", "all"])),
        video_key=draw(st.sampled_from(["videos", "videos", "more"])),
        number=number,
        on_records=draw(st.sampled_from([False, False, True])),
    )


@st.composite
def a_drawn_sample(draw: st.DrawFn, number: int) -> Sample:
    if draw(st.integers(0, 6)) == 0:
        return a_broken_sample(number)
    listed = {"videos": draw(st.integers(0, 3)), "more": draw(st.integers(0, 2))}
    videos = [Video(field, at, f"{at}.mp4", f"/{at}.mp4") for field, count in listed.items() for at in range(count)]
    return replace(a_sample(number), videos=tuple(videos))


@st.composite
def stores(draw: st.DrawFn) -> tuple[Plan, Shards]:
    plan = a_plan(*(draw(steps(number)) for number in range(draw(st.integers(0, 4)))))
    shards: Shards = {}
    line = 0
    for shard in ("ds-00000", "ds-00001")[: draw(st.integers(1, 2))]:
        samples = [draw(a_drawn_sample(line := line + 1)) for _ in range(draw(st.integers(1, 4)))]
        tables = {step.key: draw(st.permutations(draw_rows(draw, step, samples))) for step in plan.steps}
        shards[shard] = samples, tables
    return plan, shards


def draw_rows(draw: st.DrawFn, step: Step, samples: Sequence[Sample]) -> list[Row]:
    return [
        Row(sample.sample_id, subject.field, subject.position, subject.path, a_fact(step, range_.stat, draw(VALUES)))
        for sample in samples
        for subject in step.subjects(sample)
        for range_ in step.ranges
    ]


@settings(max_examples=40, deadline=None)
@given(stores())
def test_as_decide_says(drawn: tuple[Plan, Shards]) -> None:
    """NaN is drawn, too: repr compares what `==` cannot."""
    plan, shards = drawn
    expected = [verdict for samples, tables in shards.values() for verdict in decide(plan, samples, tables)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        write_shards(store, shards)
        assert [repr(verdict) for verdict in verdicts(plan, store)] == [repr(verdict) for verdict in expected]
        last = list(shards)[-1]
        assert [repr(v) for v in verdicts(plan, store, shards=[last])] == [repr(v) for v in decide(plan, *shards[last])]
        assert write_verdicts(plan, store, Path(folder, "verdicts.parquet")) == summarize(plan, expected)


def test_names_with_quotes_and_without_utf8(tmp_path: Path) -> None:
    """A drop may be named with bytes that are no UTF-8; the store escapes them, and verdicts must not show that."""
    step = a_step("f", MOTION, video_key="vi'deos")
    sample = replace(a_sample(1, "v.mp4", field="vi'deos"), sample_id="d's \udcff.jsonl:1")
    table = a_table(step, [sample], ["timed_out"])
    assert one_shard(a_plan(step), [sample], {"f": table}, tmp_path) == decide(a_plan(step), [sample], {"f": table})


STEP = a_step("f", MOTION)
TWO = [a_sample(1, "a.mp4", "b.mp4"), a_sample(2, "c.mp4")]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda rows: rows[1:], id="a row is missing"),
        pytest.param(lambda rows: [*rows, rows[0]], id="a row is there twice"),
        pytest.param(lambda rows: [rows[0], rows[0], rows[2]], id="one twice instead of another"),
        pytest.param(lambda rows: [replace(rows[0], position=7), *rows[1:]], id="a row of another video"),
        pytest.param(
            lambda rows: [replace(rows[0], fact=replace(rows[0].fact, value=None)), *rows[1:]], id="ok without a number"
        ),
    ],
)
def test_a_spoilt_table_is_never_a_kept_sample(spoil, tmp_path: Path) -> None:
    rows = spoil(a_table(STEP, TWO, [3.0, 3.0, 3.0]))
    with pytest.raises(ValueError):
        decide(a_plan(STEP), TWO, {"f": rows})
    with pytest.raises(ValueError, match=r"ds\.jsonl:1"):
        one_shard(a_plan(STEP), TWO, {"f": rows}, tmp_path)


def test_a_step_without_a_table_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no table"):
        one_shard(a_plan(STEP), TWO, {}, tmp_path)


@pytest.mark.parametrize(("on_undecided", "lines"), [("set_aside", [2]), ("keep", [2, 3])])
def test_the_export_list_holds_what_an_export_would(on_undecided: str, lines: list[int], tmp_path: Path) -> None:
    samples = [a_sample(1, "a.mp4"), a_sample(2, "b.mp4"), a_sample(3, "c.mp4"), a_broken_sample(4)]
    plan = a_plan(STEP, on_undecided=on_undecided)
    store = Store(tmp_path / "store")
    write_shards(store, {"ds-00000": (samples, {"f": a_table(STEP, samples, [1.0, 3.0, "crashed"])})})
    found = write_verdicts(plan, store, tmp_path / "v.parquet")
    assert (found.kept, found.dropped, found.undecided) == (1, {"f": 1}, {"crashed": 1, "malformed": 1})
    count = write_kept(plan, store, tmp_path / "v.parquet", tmp_path / "kept.jsonl")
    text = (tmp_path / "kept.jsonl").read_text(encoding="utf-8")
    assert text == "".join(
        f'{{"sample_id":"ds.jsonl:{line}","drop":"ds.jsonl","line_number":{line}}}\n' for line in lines
    )
    assert count == len(lines)
