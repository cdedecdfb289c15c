"""The closing lines' examples: of every reason one, before any reason has two."""

from __future__ import annotations

from dj_assets.cli.outcome import Example, choose_examples, example_of
from dj_assets.ranges import StatRange
from dj_assets.store.rows import Verdict
from dj_assets_tests.plans import a_broken_sample, a_sample, a_step

STEP = a_step("video_duration_filter", StatRange("video_duration", 1.0, 9.0))


def test_a_rare_reason_is_shown_beside_a_common_one() -> None:
    common = [Example("missing", f"{number}.mp4", "gone") for number in range(50)]
    rare = [Example("crashed", "x.mp4", "died")]
    assert choose_examples([common, rare], most=3) == [*common[:2], *rare]


def test_the_example_is_the_first_video_without_a_number() -> None:
    verdict = Verdict("ds.jsonl:1", "undecided", step=STEP.key, values=(2.0, None), status="unreadable", reason="cut")
    assert example_of([STEP], a_sample(1, "good.mp4", "cut.mp4"), verdict) == Example("unreadable", "cut.mp4", "cut")


def test_a_line_that_is_no_sample_stands_for_itself() -> None:
    verdict = Verdict("ds.jsonl:7", "undecided", status="malformed", reason="line 7: not JSON")
    assert example_of([STEP], a_broken_sample(7), verdict) == Example("malformed", "ds.jsonl:7", "line 7: not JSON")
