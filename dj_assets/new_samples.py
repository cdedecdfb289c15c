"""Kept samples + what a mapper made of their videos → the samples of the next stage. No file, no clock.

    ds.jsonl:3  [a.mp4]  "<video> a dog"
    clips       ds.jsonl:3#1  [a_1.mp4, a_2.mp4]  "<video><video> a dog"          __dj__source_file__ [a.mp4, a.mp4]
                ds.jsonl:3#1  [a_1.mp4] …, ds.jsonl:3#2  [a_2.mp4] …              with clip_per_sample
    video       ds.jsonl:3#1  [a_resized.mp4]     the text as it was
    frames      ds.jsonl:3#1  [a.mp4], video_frames [[a_1.jpg, a_2.jpg]]
    words       ds.jsonl:3#1  [a.mp4]  "<video> a brown dog runs"

`#0` is the sample itself, in front, where the recipe keeps it. An id is the same in every run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dj_assets.errors import Status
from dj_assets.plan import MapperStep
from dj_assets.recipe import Recipe
from dj_assets.samples import SOURCE_FIELD, STATS_FIELD, Made, Sample, Video, to_json
from dj_assets.store.products import Kept, ProductFile

Stats = Mapping[str, Any]


@dataclass(frozen=True)
class Mapped:
    """One video of a sample, and what is known of it under the mapper; None where it could not be opened at all."""

    video: Video
    kept: Kept | None


def videos_of(step: MapperStep, sample: Sample) -> list[Video]:
    """The videos that a mapper works on, in order."""
    return [video for video in sample.videos if video.field == step.video_key]


def text_of(recipe: Recipe, sample: Sample) -> str:
    """A sample's text; empty where it has none."""
    text = sample.record.get(recipe.text_key)
    return text if isinstance(text, str) else ""


def text_for_bench(step: MapperStep, recipe: Recipe, sample: Sample) -> str:
    """What products hang on besides the video: the text, or a field of the record in JSON; empty where on neither."""
    if step.text_field:
        return to_json(sample.record.get(step.text_field))
    return text_of(recipe, sample) if step.mapper.wants_text(step.params) else ""


def new_samples(
    step: MapperStep, recipe: Recipe, parent: Sample, mapped: Sequence[Mapped], stats: Stats, *, parent_recipe: str
) -> list[Sample]:
    """What becomes of one kept sample: at least one sample, whatever happened.

    mapped: its videos of the step's field, in order. stats: what was measured of it, as an export names it; they stay
    with samples whose videos are the same as before, and only there: a clip has numbers of its own. A video of which
    nothing could be made leaves one sample with its status and reason, beside the original where that stays.
    """
    composer = _Composer(step, recipe, parent, mapped, stats, parent_recipe)
    return list(composer.samples())


@dataclass(frozen=True)
class _Composer:
    step: MapperStep
    recipe: Recipe
    parent: Sample
    mapped: Sequence[Mapped]
    stats: Stats
    parent_recipe: str

    def samples(self) -> Iterator[Sample]:
        if self.step.keeps_original:
            yield self._made(0, self._same_videos(self.parent.record), self.parent.videos)
            if not self.mapped:
                return  # there was nothing to make another one of
        if (problem := self._problem()) is not None:
            yield self._undecided(*problem)
            return
        compose = {"clips": self._clips, "video": self._video, "frames": self._frames, "words": self._words}
        yield from compose[self.step.mapper.role]()

    def _problem(self) -> tuple[Status, str] | None:
        """Why nothing could be made of some video; None where something was made of all."""
        for one in self.mapped:
            if one.kept is None:
                return one.video.status, one.video.reason
            if one.kept.status != "ok":
                return one.kept.status, one.kept.reason
        made = sum(len(self._products(one)) for one in self.mapped)
        if self.mapped and not made and self.step.mapper.role != "frames":
            return "too_short", f"{self.step.key} made nothing of it; allowed: at least 1 product; try: other options"
        return None

    def _undecided(self, status: Status, reason: str) -> Sample:
        return replace(self._made(1, self.parent.record, ()), status=status, reason=reason)

    # --- by role

    def _clips(self) -> Iterator[Sample]:
        if not self.step.clip_per_sample:
            counts = [len(self._products(one)) for one in self.mapped]
            yield self._of_products(1, [self._products(one) for one in self.mapped], counts)
            return
        number = 0
        for place, one in enumerate(self.mapped):
            for product in self._products(one):
                number += 1
                counts = [int(other == place) for other in range(len(self.mapped))]
                chosen = [[product] if other == place else [] for other in range(len(self.mapped))]
                yield self._of_products(number, chosen, counts)

    def _of_products(self, number: int, chosen: Sequence[Sequence[ProductFile]], counts: Sequence[int]) -> Sample:
        """A sample of these products of each video. counts: tokens that take the place of each video's own."""
        pairs = [(one, product) for one, some in zip(self.mapped, chosen, strict=True) for product in some]
        record = self._record(pairs, as_list=True)
        if text := text_of(self.recipe, self.parent):
            record[self.recipe.text_key] = multiplied(
                text,
                counts,
                token=self.recipe.video_special_token,
                chunk_end=self.recipe.eoc_special_token,
                closes_chunks=self.step.mapper.closes_chunks,
            )
        return self._made(number, record, self._videos(pairs), pairs)

    def _video(self) -> Iterator[Sample]:
        pairs = [(one, product) for one in self.mapped for product in self._products(one)[:1]]
        is_list = not isinstance(self.parent.record.get(self.step.video_key), str)
        record = self._record(pairs, as_list=is_list) if pairs else self._same_videos(self.parent.record)
        yield self._made(1, record, self._videos(pairs), pairs)

    def _frames(self) -> Iterator[Sample]:
        pairs = [(one, product) for one in self.mapped for product in self._products(one)]
        record = self._same_videos(self.parent.record)
        record[self.step.frames_field] = [[product.path for product in self._products(one)] for one in self.mapped]
        yield self._made(1, record, self.parent.videos, pairs)

    def _words(self) -> Iterator[Sample]:
        most = max((len(self._products(one)) for one in self.mapped), default=0)
        if not most:
            yield self._made(1, self._same_videos(self.parent.record), self.parent.videos)
        for place in range(most):
            pairs = [(one, some[place]) for one in self.mapped if place < len(some := self._products(one))]
            captions = [some[place].text if place < len(some := self._products(one)) else "" for one in self.mapped]
            record = self._same_videos(self.parent.record)
            record[self.recipe.text_key] = captioned(
                text_of(self.recipe, self.parent),
                captions,
                token=self.recipe.video_special_token,
                chunk_end=self.recipe.eoc_special_token,
            )
            yield self._made(place + 1, record, self.parent.videos, pairs)

    # --- parts

    @staticmethod
    def _products(one: Mapped) -> Sequence[ProductFile]:
        return one.kept.products if one.kept is not None else ()

    def _record(self, pairs: Sequence[tuple[Mapped, ProductFile]], *, as_list: bool) -> dict[str, Any]:
        """The parent's record with products in the place of its videos. Numbers of the parent's are not the product's:
        upstream leaves them there, lists that match no video any more."""
        record = {name: value for name, value in self.parent.record.items() if name != STATS_FIELD}
        paths = [one.video.path if product.is_parent else product.path for one, product in pairs]
        record[self.step.video_key] = paths if as_list else paths[0]
        record[SOURCE_FIELD] = [one.video.path for one, _ in pairs]
        return record

    def _same_videos(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with its own videos as their source, and with the numbers measured of them."""
        same = {**record, SOURCE_FIELD: [video.path or video.given for video in videos_of(self.step, self.parent)]}
        if self.stats:
            earlier = record.get(STATS_FIELD)
            same[STATS_FIELD] = {**(earlier if isinstance(earlier, dict) else {}), **self.stats}
        return same

    def _videos(self, pairs: Iterable[tuple[Mapped, ProductFile]]) -> tuple[Video, ...]:
        """The products as the new sample's videos; those of other fields stay."""
        others = [video for video in self.parent.videos if video.field != self.step.video_key]
        made = [
            replace(one.video, position=place, given=one.video.path)
            if product.is_parent
            else Video(
                self.step.video_key,
                place,
                product.path,
                product.path,
                content_hash=product.content_hash,
                num_bytes=product.num_bytes,
                modified_ns=product.modified_ns,
            )
            for place, (one, product) in enumerate(pairs)
        ]
        return (*made, *others)

    def _made(
        self,
        number: int,
        record: Mapping[str, Any],
        videos: tuple[Video, ...],
        pairs: Iterable[tuple[Mapped, ProductFile]] = (),
    ) -> Sample:
        return Sample(
            sample_id=f"{self.parent.sample_id}#{number}",
            drop=self.parent.drop,
            line_number=self.parent.line_number,
            record=dict(record),
            videos=videos,
            parent_id=self.parent.sample_id,
            parent_recipe=self.parent_recipe,
            made_by=self.step.key,
            measure_id=self.step.measure_id,
            made=tuple(
                Made(
                    path=one.video.path if product.is_parent else product.path,
                    content_hash=one.video.content_hash if product.is_parent else product.content_hash,
                    parent_path=one.video.path,
                    parent_hash=one.video.content_hash,
                    begin_seconds=product.begin_seconds,
                    end_seconds=product.end_seconds,
                )
                for one, product in pairs
            ),
        )


# --- texts, as Data-Juicer writes them


def multiplied(text: str, counts: Sequence[int], *, token: str, chunk_end: str, closes_chunks: bool) -> str:
    """The text with `counts[i]` tokens in the place of its i-th video token; tokens beyond the counts stay.

    closes_chunks: end each chunk that is not blank by `chunk_end`, as upstream's splits by duration and key frame do.
    A text without any token says nothing of videos and stays as it is, where upstream would take the videos away.
    """
    if token not in text:
        return text
    numbers = iter(counts)
    replaced = re.sub(re.escape(token), lambda _: token * next(numbers, 1), text)
    if not closes_chunks:
        return replaced
    return "".join(f"{chunk}{chunk_end}" for chunk in replaced.split(chunk_end) if chunk.strip())


def captioned(text: str, captions: Sequence[str], *, token: str, chunk_end: str) -> str:
    """A text of captions: each chunk's video tokens, every one with the caption of its video after it, and nothing else
    of it. Of a text without tokens the captions alone stay, since it is written without any."""
    if token not in text:
        return " ".join(filter(None, captions))
    words = iter(captions)
    chunks = [
        "".join(f"{token} {next(words, '')} " for _ in range(chunk.count(token)))
        for chunk in text.split(chunk_end)
        if token in chunk
    ]
    return "".join(f"{chunk}{chunk_end}" for chunk in chunks)
