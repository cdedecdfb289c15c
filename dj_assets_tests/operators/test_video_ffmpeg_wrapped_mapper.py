"""FFmpeg's filters: those on the list, with arguments as data; everything else is refused when the recipe is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dj_assets.errors import Unreadable
from dj_assets.operators import _ffmpeg_filters as filters
from dj_assets.operators.video_ffmpeg_wrapped_mapper import FfmpegWrappedParams
from dj_assets_tests import videos
from dj_assets_tests.benches import made, off_by, seen

NAME = "video_ffmpeg_wrapped_mapper"


PYAV_KEYWORDS = {"filter", "args", "name"}
"""Of the call that hands arguments over: an option of that name would be taken for one."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = videos.shifting(videos.texture(height=48, width=64), num_frames=3, pixels_per_frame=2)
    return videos.write_video(tmp_path_factory.mktemp("small") / "v.mp4", frames, with_audio=True)


@pytest.mark.parametrize("size", [(36, 64), (64, 36)])
def test_scale_gives_the_size_asked_for(size: tuple[int, int], tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "v.mp4", videos.numbered(num_frames=2, height=size[0], width=size[1]))
    options = {"filter_name": "scale", "filter_kwargs": {"width": 400, "height": 480}}
    (product,) = made(NAME, path, tmp_path / "out", **options)
    assert seen(product.path).pictures.shape == (2, 480, 400, 3)


def test_the_filter_is_applied(small: Path, tmp_path: Path) -> None:
    (product,) = made(NAME, small, tmp_path, filter_name="hflip")
    assert off_by(seen(product.path).pictures, seen(small).pictures[:, :, ::-1]) < 3


def test_arguments_of_every_type_reach_the_filter(small: Path, tmp_path: Path) -> None:
    arguments = {"x": 0, "y": "ih/2", "w": 64.0, "h": "ih", "color": "white", "t": "fill", "replace": True}
    (product,) = made(NAME, small, tmp_path, filter_name="drawbox", filter_kwargs=arguments)
    picture = seen(product.path).pictures[0]
    assert picture[26:].min() > 240 > picture[:22].mean()


def test_without_a_filter_the_video_stays_as_it_is(small: Path, tmp_path: Path) -> None:
    (product,) = made(NAME, small, tmp_path)
    assert product.is_parent


@pytest.mark.parametrize("name", sorted(filters.OPTIONS))
def test_every_filter_on_the_list_works(name: str, small: Path, tmp_path: Path) -> None:
    needed = {"colorspace": {"all": "bt709", "iall": "bt601-6-625"}}
    (product,) = made(NAME, small, tmp_path, filter_name=name, filter_kwargs=needed.get(name))
    assert len(seen(product.path).seconds) >= 1


@pytest.mark.parametrize("name", sorted(filters.OPTIONS))
def test_every_option_on_the_list_is_one_of_the_filter(name: str) -> None:
    """FFmpeg says 'Option not found' of one that it does not know, and other things of values that it cannot read."""
    import av.error
    import av.filter

    for option in filters.OPTIONS[name] - {"enable"}:
        graph = av.filter.Graph()
        try:
            graph.add(name, **{option: "1"})
        except (av.error.FFmpegError, ValueError) as refusal:
            assert "unused config" not in str(refusal) and "Option not found" not in str(refusal), option


def test_no_option_on_the_list_names_files() -> None:
    assert not [name for name, options in filters.OPTIONS.items() if options & PYAV_KEYWORDS]
    words = ("file", "path", "plot", "model", "shader", "font", "socket", "address", "url")
    found = [(name, option) for name, options in filters.OPTIONS.items() for option in options]
    assert not [pair for pair in found if any(word in pair[1] for word in words)]
    assert not filters.OPTIONS.keys() & filters.REFUSED.keys()


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        (
            {"filter_name": "movie", "filter_kwargs": {"filename": "/etc/passwd"}},
            "filter_name",
            "reads or writes files",
        ),
        ({"filter_name": "subtitles"}, "filter_name", "reads or writes files"),
        ({"filter_name": "drawtext", "filter_kwargs": {"textfile": "/etc/passwd"}}, "filter_name", "files"),
        ({"filter_name": "setpts", "filter_kwargs": {"expr": "0.5*PTS"}}, "filter_name", "sound would not follow"),
        ({"filter_name": "eq"}, "filter_name", "under the GPL"),
        ({"filter_name": "scal"}, "filter_name", "did you mean scale"),
        ({"filter_name": "scale=1:1,movie=x"}, "filter_name", "not on the list"),
        ({"filter_name": "curves", "filter_kwargs": {"psfile": "/etc/passwd"}}, "filter_kwargs", "takes no 'psfile'"),
        ({"filter_name": "curves", "filter_kwargs": {"plot": "/tmp/x"}}, "filter_kwargs", "takes no 'plot'"),
        ({"filter_name": "hflip", "filter_kwargs": {"name": "x"}}, "filter_kwargs", "takes no 'name'"),
        ({"filter_name": "scale", "filter_kwargs": {"w": "1\n2"}}, "filter_kwargs", "printable"),
        ({"filter_name": "scale", "filter_kwargs": {"w": "1" * 2000}}, "filter_kwargs", "at most"),
        ({"filter_name": "scale", "filter_kwargs": {"w": [1]}}, "filter_kwargs", "valid"),
    ],
    ids=lambda value: value["filter_name"] if isinstance(value, dict) else "",
)
def test_what_is_not_safe_is_refused_by_name(options: dict[str, Any], option: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refusal:
        FfmpegWrappedParams(**options)
    assert {fault["loc"][0] for fault in refusal.value.errors()} == {option}


def test_text_that_looks_like_a_graph_is_one_argument(small: Path, tmp_path: Path) -> None:
    """Handed over as text, it would add a filter that reads a file."""
    sly = "64:48[x];movie=/etc/passwd[y];[x][y]overlay"
    with pytest.raises(Unreadable, match="scale"):
        made(NAME, small, tmp_path, filter_name="scale", filter_kwargs={"w": sly})
    assert not list(tmp_path.iterdir())


@pytest.mark.media
def test_the_tutorials_clips_are_scaled_as_data_juicer_does(media: Path, tmp_path: Path) -> None:
    options = {"filter_name": "scale", "filter_kwargs": {"width": 400, "height": 480}}
    (product,) = made(NAME, media / "video1.mp4", tmp_path, **options)
    found = seen(product.path)
    assert found.pictures.shape == (282, 480, 400, 3)
    assert np.array_equal(np.array(found.seconds[:2], dtype=float), [0, 1 / 24])
