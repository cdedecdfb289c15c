"""What upstream's unit tests of mappers expect to be made, through the command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from dj_assets_tests.upstream import clips
from dj_assets_tests.upstream.project import END_OF_CHUNK, VIDEO, Project, skip_unless_built

SINGLE = (("v1",), ("v2",), ("v3",))

BY_DURATION = "video_split_by_duration_mapper"
BY_KEY_FRAME = "video_split_by_key_frame_mapper"
BY_SCENE = "video_split_by_scene_mapper"
RESOLUTION = "video_resize_resolution_mapper"
ASPECT = "video_resize_aspect_ratio_mapper"
FFMPEG = "video_ffmpeg_wrapped_mapper"
FRAMES = "video_extract_frames_mapper"


# --- the clips


@pytest.fixture(scope="module")
def short(_folder: Path) -> dict[str, Path]:
    """Three frames of each size: nothing else counts for a resize."""
    return {name: clips.flat(_folder / "clips" / f"short_{name}.mp4", name, num_frames=3) for name in clips.SIZES}


@pytest.fixture
def films(media: Path, third: Path) -> dict[str, Path]:
    """The tutorial's clips, and a small flat one of video3's length with as many key frames."""
    return {"v1": media / "video1.mp4", "v2": media / "video2.mp4", "v3": third}


@pytest.fixture(scope="module")
def third(_folder: Path) -> Path:
    return clips.flat(_folder / "clips" / "v3.mp4", "v3", height=64, width=36)


@pytest.fixture(scope="module")
def one_cut(_folder: Path) -> Path:
    return clips.with_cuts(_folder / "clips" / "one_cut.mp4", 103)


@pytest.fixture(scope="module")
def seven_cuts(_folder: Path) -> Path:
    return clips.with_cuts(_folder / "clips" / "seven_cuts.mp4", *clips.ADAPTIVE_CUTS)


def sizes_of(records: list[dict[str, Any]]) -> list[str]:
    """`width×height` of the first video of each sample."""
    import av

    found = []
    for record in records:
        with av.open(record["videos"][0]) as container:
            stream = container.streams.video[0]
            found.append(f"{stream.width}×{stream.height}")
    return found


def frames_of(paths: list[str]) -> Iterator[int]:
    """Number of frames of each video, decoded."""
    import av

    for path in paths:
        with av.open(path) as container:
            yield sum(1 for _ in container.decode(video=0))


# --- splits

NOT_THE_WHOLE = {"keep_original_sample": False}


@pytest.mark.media
@pytest.mark.parametrize(
    ("step", "pieces"),
    [
        pytest.param({BY_DURATION: {"split_duration": 10, **NOT_THE_WHOLE}}, [2, 3, 5], id="10 s"),
        pytest.param(
            {BY_DURATION: {"split_duration": 10, "min_last_split_duration": 3, **NOT_THE_WHOLE}},
            [1, 3, 5],
            id="10 s, a rest of 3 s",
        ),
        pytest.param({BY_KEY_FRAME: NOT_THE_WHOLE}, [3, 3, 6], id="key frames"),
    ],
)
def test_pieces(project: Project, films: dict[str, Path], step: dict[str, Any], pieces: list[int]) -> None:
    texts = [f"{VIDEO} words {END_OF_CHUNK}"] * 3
    records = replace(project, clips=films).process([step], SINGLE, texts=texts)
    assert [len(record["videos"]) for record in records] == pieces
    assert [record["text"].count(VIDEO) for record in records] == pieces
    assert all(record["text"].endswith(END_OF_CHUNK) and record["text"].count("words") == 1 for record in records)


@pytest.mark.media
def test_pieces_of_ten_seconds_share_no_frame(project: Project, films: dict[str, Path]) -> None:
    """Upstream's neighbours share one, or snap to key frames."""
    step = {BY_DURATION: {"split_duration": 10, **NOT_THE_WHOLE}}
    [record] = replace(project, clips=films).process([step], [["v1"]])
    assert list(frames_of(record["videos"])) == [240, 42]


@pytest.mark.media
@pytest.mark.parametrize(
    ("options", "scenes", "third_is"),
    [
        pytest.param({"detector": "ContentDetector", "threshold": 27.0}, [3, 1, 2], "one_cut", id="content"),
        pytest.param({"detector": "AdaptiveDetector", "threshold": 3.0}, [3, 1, 8], "seven_cuts", id="adaptive"),
        pytest.param({"detector": "ThresholdDetector", "threshold": 12.0}, [1, 1, 1], "one_cut", id="threshold"),
        pytest.param({"luma_only": True, "kernel_size": 5}, [2, 1, 2], "one_cut", id="grey, another kernel"),
    ],
)
def test_scenes(
    project: Project,
    media: Path,
    request: pytest.FixtureRequest,
    options: dict[str, Any],
    scenes: list[int],
    third_is: str,
) -> None:
    skip_unless_built(BY_SCENE)
    third = request.getfixturevalue(third_is)
    found = {"v1": media / "video1.mp4", "v2": media / "video2.mp4", "v3": third}
    records = replace(project, clips=found).process([{BY_SCENE: {"min_scene_len": 15, **options}}], SINGLE)
    assert [len(record["videos"]) for record in records] == scenes
    assert [record["text"].count(VIDEO) for record in records] == scenes


@pytest.mark.media
@pytest.mark.parametrize(
    ("options", "frames"),
    [
        pytest.param({}, [144, 237 - 144, 282 - 237], id="content 27"),
        pytest.param({"luma_only": True, "kernel_size": 5}, [237, 282 - 237], id="grey, another kernel"),
    ],
)
def test_scenes_of_video1_are_cut_to_the_frame(
    project: Project, media: Path, options: dict[str, Any], frames: list[int]
) -> None:
    step = {BY_SCENE: {"detector": "ContentDetector", "threshold": 27.0, "min_scene_len": 15, **options}}
    [record] = replace(project, clips={"v1": media / "video1.mp4"}).process([step], [["v1"]])
    assert list(frames_of(record["videos"])) == frames


# --- other sizes


@pytest.mark.parametrize(
    ("options", "rows", "sizes"),
    [
        pytest.param({}, SINGLE, ["640×360", "480×640", "362×640"], id="default"),
        pytest.param(
            {"min_width": 400, "max_width": 480}, SINGLE, ["480×270", "480×640", "400×708"], id="width 400 to 480"
        ),
        pytest.param(
            {"min_height": 480, "max_height": 480}, SINGLE, ["854×480", "360×480", "272×480"], id="height 480"
        ),
        pytest.param(
            {"min_width": 400, "max_width": 480, "min_height": 480, "max_height": 480},
            SINGLE,
            ["480×480", "400×480", "400×480"],
            id="both",
        ),
        *(
            pytest.param(
                {"min_width": 400, "max_width": 480, "min_height": 480, "max_height": 480, **options},
                [("v1",)],
                [size],
                id=f"both, {name}",
            )
            for name, options, size in (
                ("smaller", {"force_original_aspect_ratio": "decrease"}, "480×270"),
                ("larger", {"force_original_aspect_ratio": "increase"}, "854×480"),
                ("by fours", {"force_original_aspect_ratio": "decrease", "force_divisible_by": 4}, "480×272"),
            )
        ),
    ],
)
def test_another_resolution(
    project: Project, short: dict[str, Path], options: dict[str, Any], rows: Any, sizes: list[str]
) -> None:
    assert sizes_of(replace(project, clips=short).process([{RESOLUTION: options}], rows)) == sizes


@pytest.mark.parametrize(
    ("options", "clip", "size"),
    [
        pytest.param({"min_ratio": "3/4", "strategy": "increase"}, "v3", "480×640", id="at least, larger"),
        pytest.param({"min_ratio": "3/4", "strategy": "decrease"}, "v3", "362×482", id="at least, smaller"),
        pytest.param({"max_ratio": "4/3", "strategy": "increase"}, "v1", "640×480", id="at most, larger"),
        pytest.param({"max_ratio": "4/3", "strategy": "decrease"}, "v1", "480×360", id="at most, smaller"),
    ],
)
def test_another_aspect_ratio(
    project: Project, short: dict[str, Path], options: dict[str, Any], clip: str, size: str
) -> None:
    assert sizes_of(replace(project, clips=short).process([{ASPECT: options}], [[clip]])) == [size]


def test_a_filter_of_ffmpegs(project: Project, short: dict[str, Path]) -> None:
    step = {FFMPEG: {"filter_name": "scale", "filter_kwargs": {"width": 400, "height": 480}}}
    assert sizes_of(replace(project, clips=short).process([step], SINGLE)) == ["400×480"] * 3


# --- frames


@pytest.mark.media
@pytest.mark.parametrize(
    ("options", "counts"),
    [
        pytest.param({"frame_sampling_method": "uniform", "frame_num": 2}, [2, 2, 2], id="two of each"),
        pytest.param(
            {"frame_sampling_method": "uniform", "frame_num": 3, "duration": 10}, [3, 6, 12], id="three of every 10 s"
        ),
        pytest.param(
            {"frame_sampling_method": "all_keyframes", "duration": 5}, [4, 5, 13], id="key frames of every 5 s"
        ),
    ],
)
def test_frames(
    project: Project, films: dict[str, Path], tmp_path: Path, options: dict[str, Any], counts: list[int]
) -> None:
    step = {FRAMES: {"frame_dir": str(tmp_path / "frames"), "frame_key": "pictures", **options}}
    records = replace(project, clips=films).process([step], SINGLE)
    pictures = [list(chain.from_iterable(record["pictures"])) for record in records]
    assert [len(paths) for paths in pictures] == counts
    assert all(Path(path).read_bytes()[:2] == b"\xff\xd8" for paths in pictures for path in paths), "JPEG files"
    assert len({path for paths in pictures for path in paths}) == sum(counts), "no two share a file"
