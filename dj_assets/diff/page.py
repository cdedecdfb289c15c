"""A diff as one HTML page that opens offline: what changed, who enters and leaves, with a picture of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dj_assets import evidence
from dj_assets.diff import Diff, Flow, Moved, Totals
from dj_assets.diff.words import standing_text
from dj_assets.errors import MediaError
from dj_assets.recipe import Limits
from dj_assets.report import picture_uri, render
from dj_assets.samples import Video

MOST_CARDS = 60
MOST_ROWS = 200
THREADS = 2
"""Thumbnails at a time; each is drawn in a process of its own."""


@dataclass(frozen=True)
class Heading:
    """What the page says of the comparison itself. *_command: what measures what is missing on that side."""

    old: str
    new: str
    samples: str
    old_command: str
    new_command: str


@dataclass(frozen=True)
class Picture:
    """A thumbnail as an address that needs no file, or why there is none."""

    uri: str = ""
    reason: str = ""


@dataclass
class Thumbnails:
    """Draws a frame of a video, once per content. drawn: how many videos were opened for that."""

    roots: Sequence[Path]
    limits: Limits
    drawn: int = 0
    _known: dict[str, Picture] = field(default_factory=dict)

    def of(self, videos: Iterable[Video | None]) -> list[Picture]:
        """One picture per video; None is a sample without any."""
        listed = list(videos)
        wanted = {video.content_hash: video for video in listed if video is not None and video.content_hash}
        new = [video for content, video in wanted.items() if content not in self._known]
        with ThreadPoolExecutor(max_workers=THREADS) as threads:
            self._known.update(zip((video.content_hash for video in new), threads.map(self._draw, new), strict=True))
        self.drawn += len(new)
        return [self._picture(video) for video in listed]

    def _picture(self, video: Video | None) -> Picture:
        if video is None:
            return Picture(reason="no video")
        return self._known[video.content_hash] if video.content_hash else Picture(reason=video.reason or video.status)

    def _draw(self, video: Video) -> Picture:
        try:
            jpeg = evidence.thumbnail(video, roots=self.roots, limits=self.limits)
        except MediaError as error:
            return Picture(reason=error.one_line())
        return Picture(uri=picture_uri(jpeg, "image/jpeg"))


@dataclass(frozen=True)
class Card:
    """One sample on the page. picture: None where no thumbnails were asked for."""

    sample_id: str
    videos: tuple[str, ...]
    was: str
    is_now: str
    was_outcome: str
    is_outcome: str
    picture: Picture | None = None


@dataclass(frozen=True)
class Section:
    """Samples of one kind: count of all, cards of the first."""

    title: str
    note: str
    count: int
    cards: tuple[Card, ...]

    @property
    def num_more(self) -> int:
        return self.count - len(self.cards)


def page(diff: Diff, heading: Heading, thumbnails: Thumbnails | None) -> str:
    """The page. thumbnails: None for a page without pictures, for which nothing is decoded."""
    with_pictures = (
        ("Entering", "not exported by the old recipe, exported by the new one", diff.entering, diff.num_entering),
        ("Leaving", "exported by the old recipe, not by the new one", diff.leaving, diff.num_leaving),
    )
    in_rows = (
        ("Dropped by another step", "out either way", diff.changed_cause, diff.num_changed_cause),
        (
            "Cannot be known",
            "hangs on videos that nobody has measured; counted neither as entering nor as leaving",
            diff.unknown,
            diff.num_unknown,
        ),
    )
    sides = {gap.side for gap in diff.gaps}
    commands = [heading.new_command] * ("new" in sides) + [heading.old_command] * ("old" in sides)
    return render(
        "diff.html",
        heading=heading,
        diff=diff,
        totals=_total_rows(diff.old, diff.new),
        flows=[(flow, _end(flow.old, flow.old_by), _end(flow.new, flow.new_by), _stays(flow)) for flow in diff.flows],
        pictured=[Section(t, n, count, _cards(some[:MOST_CARDS], thumbnails)) for t, n, some, count in with_pictures],
        listed=[Section(t, n, count, _cards(some[:MOST_ROWS], None)) for t, n, some, count in in_rows],
        commands=commands,
    )


def _cards(moved: Sequence[Moved], thumbnails: Thumbnails | None) -> tuple[Card, ...]:
    pictures: Sequence[Picture | None] = [None] * len(moved)
    if thumbnails is not None:
        pictures = thumbnails.of(_shown_video(one) for one in moved)
    return tuple(
        Card(
            one.sample_id,
            tuple(video.given for video in one.videos),
            standing_text(one.old),
            standing_text(one.new),
            one.old.outcome,
            one.new.outcome,
            picture,
        )
        for one, picture in zip(moved, pictures, strict=True)
    )


def _shown_video(one: Moved) -> Video | None:
    """The first video that can be opened, of the field that the deciding step looks at where it has one."""
    deciding = (one.old.field, one.new.field)
    by_worth = sorted(one.videos, key=lambda video: (not video.content_hash, video.field not in deciding))
    return by_worth[0] if by_worth else None


def _total_rows(old: Totals, new: Totals) -> list[tuple[str, str, int | None, int | None]]:
    """(outcome, because of, old, new); None where a recipe has no such step."""
    rows: list[tuple[str, str, int | None, int | None]] = [("kept", "", old.kept, new.kept)]
    for key in dict.fromkeys([*new.dropped, *old.dropped]):
        rows.append(("dropped", key, old.dropped.get(key), new.dropped.get(key)))
    for status in sorted({*old.undecided, *new.undecided}):
        rows.append(("undecided", status, old.undecided.get(status, 0), new.undecided.get(status, 0)))
    if old.not_measured or new.not_measured:
        rows.append(("not measured", "", old.not_measured, new.not_measured))
    return [*rows, ("exported for certain", "", old.exported, new.exported)]


def _end(outcome: str, by: str) -> str:
    if outcome == "absent":
        return "not in the dataset"
    words = outcome.replace("_", " ")
    return f"{words} by {by}" if outcome == "dropped" else f"{words}: {by}" if by else words


def _stays(flow: Flow) -> bool:
    return (flow.old, flow.old_by) == (flow.new, flow.new_by)
