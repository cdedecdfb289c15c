"""Keeps samples whose videos have some tags.

Data-Juicer finds tags by RAM++, whose code and weights are in no package and no hub that transformers reads. So this
works on tags that the record has already, under `__dj__meta__`, as Data-Juicer's video_tagging_from_frames_mapper
leaves them: a list of tags for each video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from dj_assets.errors import NoValue
from dj_assets.operators._contract import Operator, Params, flag
from dj_assets.operators._text import kind_of

META_FIELD = "__dj__meta__"


class TagsParams(Params):
    """Which tags are wanted, and of how many videos."""

    tags: tuple[str, ...] = Field(("people",), description="a list of tags; case does not matter")
    contain: Literal["any", "all"] = Field("any", description="any or all of the tags must be among a video's")
    tag_field_name: str = Field("video_frame_tags", min_length=1, description=f"the list's name under {META_FIELD}")
    any_or_all: Literal["any", "all"] = Field("any", description="any or all of the videos must pass")
    reversed_range: bool = Field(False, description="true: a video passes without these tags")

    def warnings(self) -> Sequence[str]:
        """Tells of an empty list, as upstream takes it."""
        if self.tags:
            return ()
        outcome = "no video passes" if self.contain == "any" else "every video passes"
        return (f"tags is empty, so {outcome}",)


def judge(record: Mapping[str, Any], params: TagsParams) -> tuple[float]:
    """1 where the sample's videos have the tags, as upstream asks. Raises `NoValue` where nobody has tagged them."""
    found = [_passes(tags, params) for tags in _tags_of(record, params)]
    if not found:
        return (1.0,)
    return (float(any(found) if params.any_or_all == "any" else all(found)),)


def _tags_of(record: Mapping[str, Any], params: TagsParams) -> list[set[str]]:
    """Tags of each video, in lower case."""
    meta = record.get(META_FIELD)
    lists = meta.get(params.tag_field_name) if isinstance(meta, Mapping) else None
    if not isinstance(lists, list | tuple):
        raise NoValue(
            f"{META_FIELD}.{params.tag_field_name} is {kind_of(lists)}",
            allowed="a list of tags for each video, made beforehand: the tagging model RAM++ is not run here",
            try_="run video_tagging_from_frames_mapper by dj-process, keep_stats_in_res_ds: true, and read its result",
        )
    found = []
    for tags in lists:
        if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
            raise NoValue(
                f"{META_FIELD}.{params.tag_field_name} holds {kind_of(tags)}",
                allowed="a list of texts for each video",
                try_="mend the record",
            )
        found.append({tag.lower() for tag in tags})
    return found


def _passes(tags: set[str], params: TagsParams) -> bool:
    wanted = {tag.lower() for tag in params.tags}
    has = bool(wanted & tags) if params.contain == "any" else wanted <= tags
    return has != params.reversed_range


OPERATOR = Operator(
    name="video_tagging_from_frames_filter",
    version=1,
    summary="whether the sample's videos have the wanted tags, 1 for yes; tags that the record brings, made beforehand",
    compute="record",
    params=TagsParams,
    stats=(flag("video_frame_tags_match"),),
    bounds=(),
    judge=judge,
    fields=lambda params: [f"{META_FIELD}.{params.tag_field_name}"],
    ignored={
        "frame_sampling_method": "frames are not looked at here, but the tags that the record brings",
        "frame_num": "frames are not looked at here, but the tags that the record brings",
    },
)
