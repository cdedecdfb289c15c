"""What upstream's unit tests of `video_deduplicator` expect to be kept, through the command line.

Nothing hangs on what the clips show: three that differ, and copies of them in files with other bytes, as upstream has.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dj_assets_tests import videos
from dj_assets_tests.upstream.project import VIDEO, Project

NAME = "video_deduplicator"

COPIES = {"v6": "v1", "v7": "v2", "v8": "v3", "v9": "v3"}
"""Upstream's files with the pictures of another one."""

EMPTY: tuple[str, ...] = ()
SEVEN = [("v1",), ("v2",), ("v3",), ("v6",), ("v7",), ("v8",), ("v9",)]
WITH_GAPS = [EMPTY, ("v2",), ("v3",), EMPTY, ("v7",), EMPTY, ("v9",)]
SETS = [("v1", "v2", "v3"), ("v6", "v7", "v8"), ("v9", "v7"), ("v8", "v7")]

ROWS = [
    pytest.param([("v1",)], "", [1], id="one row"),
    pytest.param([("v1",), ("v2",), ("v3",)], "", [1, 2, 3], id="three that differ"),
    pytest.param([("v1",), ("v2",), ("v2",)], "", [1, 2], id="the same file twice"),
    pytest.param(SEVEN, "", [1, 2, 3], id="copies"),
    pytest.param(SEVEN, "1231537", [1, 2, 3, 5, 7], id="copies with other texts"),
    pytest.param(SETS, "", [1, 3], id="several videos"),
    pytest.param(SETS, "1234", [1, 2, 3, 4], id="several videos, every text differs"),
    pytest.param(SETS, "1134", [1, 3, 4], id="several videos, one text is the same"),
    pytest.param(
        [("v1", "v2"), ("v2", "v1"), ("v6", "v7"), ("v9", "v9"), ("v8", "v8")],
        "",
        [1, 2, 4],
        id="order counts, a repeated video does not",
    ),
    pytest.param(WITH_GAPS, "", [1, 2, 3, 4, 6], id="without videos"),
    pytest.param(WITH_GAPS, "1231533", [1, 2, 3, 5, 6], id="without videos, a text is repeated"),
]
"""rows; texts by number, one a row, empty: texts do not count; the rows that stay."""


@pytest.fixture(scope="module")
def copied(_folder: Path) -> dict[str, Path]:
    found = {}
    for number, name in enumerate(("v1", "v2", "v3")):
        frames = videos.shifting(videos.texture(height=48, width=64, seed=number), num_frames=6, pixels_per_frame=1)
        found[name] = videos.write_video(_folder / "clips" / f"{name}.mp4", frames)
    for copy, name in COPIES.items():
        options = {"brand": f"is{copy}m"[:4]}  # another file type box: other bytes, the same packets
        found[copy] = videos.remux(found[name], _folder / "clips" / f"{copy}.mp4", options=options)
        assert found[copy].read_bytes() != found[name].read_bytes()
    return found


@pytest.mark.parametrize(("rows", "texts", "kept"), ROWS)
def test_the_first_of_equals_stays(
    project: Project, copied: dict[str, Path], rows: list[tuple[str, ...]], texts: str, kept: list[int]
) -> None:
    written = [f"{VIDEO * len(row)} text {number}" for row, number in zip(rows, texts or "1234567", strict=False)]
    step = {NAME: {"consider_text": bool(texts)}}
    assert replace(project, clips=copied).kept([step], rows, texts=written) == kept
