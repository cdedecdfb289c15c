"""Puts videos through one of FFmpeg's video filters, from a list of those that are safe."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from dj_assets.operators import _ffmpeg_filters as filters
from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Bench, Mapper, Product

Argument = str | int | float | bool

MOST_CHARACTERS = 1000
"""Of one argument: FFmpeg's expressions are short."""


class FfmpegWrappedParams(Params):
    """Options that change the video."""

    filter_name: str | None = Field(
        None, description=f"null for no change, or one of {', '.join(sorted(filters.OPTIONS))}"
    )
    filter_kwargs: dict[str, Argument] | None = Field(
        None, description="the filter's arguments by name, each a number, a text or true or false"
    )

    @field_validator("filter_name")
    @classmethod
    def _on_the_list(cls, value: str | None) -> str | None:
        if value is not None:
            _check_name(value)
        return value

    @field_validator("filter_kwargs")
    @classmethod
    def _safe(cls, value: Mapping[str, Argument] | None, info: ValidationInfo) -> Mapping[str, Argument] | None:
        name = info.data.get("filter_name")
        if name is not None:
            for argument, given in (value or {}).items():
                _check_argument(name, argument, given)
        return value

    def arguments(self) -> Mapping[str, str]:
        """As FFmpeg reads them."""
        given = self.filter_kwargs or {}
        return {name: str(int(value)) if isinstance(value, bool) else str(value) for name, value in given.items()}


def _check_name(name: str) -> None:
    if name in filters.OPTIONS:
        return
    if name in filters.REFUSED:
        raise ValueError(f"{name} is refused: {filters.REFUSED[name]}")
    near = " or ".join(difflib.get_close_matches(name, filters.OPTIONS, n=3))
    raise ValueError(f"not on the list of filters{f'; did you mean {near}?' if near else ''}")


def _check_argument(name: str, argument: str, value: Argument) -> None:
    allowed = filters.OPTIONS[name]
    if argument not in allowed:
        raise ValueError(f"{name} takes no {argument!r} here, but {', '.join(sorted(allowed))}")
    if isinstance(value, str) and (len(value) > MOST_CHARACTERS or not value.isprintable()):
        raise ValueError(f"{argument} must be at most {MOST_CHARACTERS} printable characters")


def make(bench: Bench, params: FfmpegWrappedParams, model: Any) -> Sequence[Product]:
    """The filtered video; the video itself without a filter. The filter sees pictures turned as players do."""
    if params.filter_name is None:
        return [bench.parent()]
    return [bench.filtered([(params.filter_name, params.arguments())], upright=True)]


OPERATOR = Mapper(
    name="video_ffmpeg_wrapped_mapper",
    version=1,
    summary="videos go through one of FFmpeg's video filters",
    compute="cpu",
    role="video",
    params=FfmpegWrappedParams,
    make=make,
    ignored={
        "capture_stderr": "no ffmpeg program runs here; what FFmpeg says is told",
        "overwrite_output": "a video that is as it was made is kept, any other of its name is overwritten",
    },
    refused={"global_args": "leave it out: no ffmpeg program runs here that could take arguments"},
)
