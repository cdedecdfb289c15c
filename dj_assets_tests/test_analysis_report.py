"""The files of an analysis: what they say, that they hold against hostile names, and what becomes of older ones."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dj_assets.analysis import analyse
from dj_assets.analysis_report import (
    About,
    Written,
    overall_markdown,
    page,
    shown,
    shown_seconds,
    shown_share,
    write_analysis,
)
from dj_assets.columns import columns_of
from dj_assets.plan import Plan
from dj_assets.store.store import Store
from dj_assets_tests.plans import a_broken_sample
from dj_assets_tests.test_analysis import clips, put, two_passes

ABOUT = About("2026-11-25T12:00:00+00:00", "dj-assets 1", "run-1")
HOSTILE = '<script>alert("x")</script>\udc80\x07.mp4'


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def written(folder: Path, plan: Plan | None = None) -> Written:
    """Five videos: 1 s (dropped in the header, motion not measured), 3 s and 5 s with motion, one missing under a
    hostile name, one that nobody asked about; and a malformed line."""
    plan, store = plan or two_passes(), Store(folder / "store")
    samples = clips(5)
    gone = replace(samples[3].videos[0], content_hash="", status="missing", reason=f"no {HOSTILE}", given=HOSTILE)
    samples[3] = replace(samples[3], videos=(gone,))
    put(store, plan.steps[0], [1.0, 3.0, 5.0])
    if len(plan.steps) > 1:
        put(store, plan.steps[1], [None, 0.5, 0.25], costs=[0, 2.0, 4.0])
    columns = columns_of(plan, store, {"ds-00000": [*samples, a_broken_sample(6)]})
    return write_analysis(analyse(columns, store), columns, folder / "out", ABOUT)


def test_overall_has_a_column_per_stat_and_a_line_per_figure_as_dj_analyze(tmp_path: Path) -> None:
    with written(tmp_path).paths["overall.csv"].open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["", "length", "motion"]
    assert [row[0] for row in rows][:10] == ["count", "mean", "std", "min", "5%", "25%", "50%", "75%", "95%", "max"]
    found = {row[0]: row[1:] for row in rows}
    assert found["count"] == ["3", "2"] and found["mean"] == ["3.0", "0.375"]
    assert found["videos"] == ["5", "5"] and found["measured_share"] == ["0.6", "0.4"]
    assert found["missing"] == ["1", "1"] and found["undecided_share"] == ["0.2", "0.2"]
    assert found["skipped"] == ["0", "1"] and found["not_measured"] == ["1", "1"]
    assert found["crashed"] == ["0", "0"]  # every reason is a line, for programs


def test_markdown_leaves_out_reasons_that_no_video_has(tmp_path: Path) -> None:
    text = written(tmp_path).paths["overall.md"].read_text()
    assert "| | length | motion |" in text and "| missing | 1 | 1 |" in text and "crashed" not in text


def test_every_sample_has_a_line_with_its_numbers_or_the_reasons(tmp_path: Path) -> None:
    lines = written(tmp_path).paths["res_stats.jsonl"].read_text(encoding="utf-8").splitlines()
    first, second, _, missing, unasked, malformed = map(json.loads, lines)
    assert first == {
        "sample_id": "ds.jsonl:1",
        "__dj__stats__": {"length": [1.0], "motion": [None]},
        "__dj__status__": {"motion": ["skipped"]},
    }
    assert second == {"sample_id": "ds.jsonl:2", "__dj__stats__": {"length": [3.0], "motion": [0.5]}}
    assert missing["__dj__status__"] == {"length": ["missing"], "motion": ["missing"]}
    assert unasked["__dj__status__"] == {"length": ["not_measured"], "motion": ["not_measured"]}
    assert malformed == {"sample_id": "ds.jsonl:6", "__dj__status__": "malformed"}


def test_the_page_tells_what_was_not_measured_and_asks_nobody(tmp_path: Path) -> None:
    html = written(tmp_path).page.read_text(encoding="utf-8")
    found = Page(html)
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "iframe", "object", "embed"})
    addresses = [value or "" for _, attributes in found.tags for name, value in attributes.items() if name == "src"]
    assert len(addresses) == 6 and all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not re.search(r"url\(|@import|https?://", re.sub(r"data:image[^\"]*", "", html))
    text = " ".join(found.text.split())  # and no-break spaces
    assert '<script>alert("x")</script>' in text and "\\udc80" in text
    assert "2 numbers were never asked for" in text
    assert "1 number was skipped on purpose" in text
    assert "1 of 6 manifest lines are malformed" in text
    assert "3 of 5 videos (60 %)" in text and "2 of 5 videos (40 %)" in text
    assert two_passes().steps[1].measure_id in text and "run-1" in text


def test_what_is_wholly_measured_has_no_warning(tmp_path: Path) -> None:
    plan, store = two_passes(), Store(tmp_path)
    put(store, plan.steps[0], [3.0, 4.0])
    put(store, plan.steps[1], [3.0, 4.0])
    columns = columns_of(plan, store, {"ds-00000": clips(2)})
    wrote = write_analysis(analyse(columns, store), columns, tmp_path / "out", ABOUT)
    text = Page(wrote.page.read_text(encoding="utf-8")).text
    assert "Every video of every sample has every number" in text
    assert "skipped on purpose" not in text and "never asked" not in text


def test_shards_that_were_never_read_are_on_the_page(tmp_path: Path) -> None:
    plan, store = two_passes(), Store(tmp_path)
    columns = columns_of(plan, store, {"ds-00000": clips(2)})
    wrote = write_analysis(analyse(columns, store), columns, tmp_path / "out", ABOUT)
    looked = analyse(columns, store, shards=["ds-00000", "ds-00001"])
    text = Page(page(looked, plan, wrote.pictures, ABOUT)).text
    assert "1 of the dataset's shards was never read" in " ".join(text.split()) and "ds-00001" in text


def test_pictures_of_a_step_that_the_recipe_has_no_longer_go_and_a_users_own_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    written(tmp_path)
    (out / "mine-hist.png").write_bytes(b"mine")
    whole = two_passes()
    written(tmp_path, replace(whole, steps=whole.steps[:1], passes=whole.passes[:1]))
    names = {path.name for path in out.iterdir()}
    assert "length-hist.png" in names and "mine-hist.png" in names
    assert "motion-hist.png" not in names and "motion-box.png" not in names


def test_a_record_that_somebody_bent_removes_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "analysis.json").write_text(json.dumps({"files": ["../victim.png", 3]}))
    written(tmp_path)
    assert victim.exists()


def test_a_recipe_without_steps(tmp_path: Path) -> None:
    whole, store = two_passes(), Store(tmp_path)
    plan = replace(whole, steps=(), passes=())
    columns = columns_of(plan, store, {"ds-00000": clips(2)})
    wrote = write_analysis(analyse(columns, store), columns, tmp_path / "out", ABOUT)
    assert "lists no operator" in wrote.page.read_text()


def test_a_name_cannot_break_the_table(tmp_path: Path) -> None:
    plan, store = two_passes(), Store(tmp_path)
    found = analyse(columns_of(plan, store, {"ds-00000": clips(1)}), store)
    bent = replace(found, stats=(replace(found.stats[0], name="a|b\nc"),))
    assert overall_markdown(bent).splitlines()[0] == "| | a\\|b c |"


def test_figures() -> None:
    assert shown(None) == "-" and shown(0.12345) == "0.1235" and shown(12) == "12" and shown(1500.26) == "1500.3"


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "-"), (0.0, "0 %"), (1.0, "100 %"), (0.0001, "< 0.1 %"), (0.9999, "> 99.9 %"), (1 / 3, "33.3 %")],
)
def test_a_share_is_never_rounded_to_none_or_all(share: float | None, text: str) -> None:
    assert shown_share(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0 s"),
        (0.0042, "4.2 ms"),
        (12.0, "12 s"),
        (204.0, "3.4 min"),
        (7560.0, "2.1 h"),
        (4e5, "4.6 d"),
    ],
)
def test_seconds(seconds: float | None, text: str) -> None:
    assert shown_seconds(seconds) == text
