"""What has landed: which data drops are new, changed, not complete yet or gone, and which shards have to run for that.

    folder ─look→ arrivals ─advance(known)→ Tick: shards to run, drops to wait for, what is known from now on

Nothing is kept here: what is known comes in and goes out, so that whoever calls can repeat a call. Manifests are read
once per size and time of change, and of videos only names, sizes and times.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dj_assets.recipe import Landing, Recipe
from dj_assets.samples import (
    PRODUCED_FOLDER,
    Source,
    find_sources,
    folder_drops,
    key_prefixes,
    shard_digests,
    shard_key,
)

FORMAT = 1


@dataclass(frozen=True)
class Arrival:
    """A data drop as it lies there: one manifest, or a folder with whatever is in it.

    stamp: differs when a name, size or time of its files does. changed_ns: when the newest of them was written, moved
    or touched, ns since 1970. num_files: 0 for a folder with nothing to read in it.
    """

    name: str
    sources: tuple[Source, ...]
    stamp: str
    changed_ns: int
    has_marker: bool
    num_files: int = 1


@dataclass(frozen=True)
class Known:
    """What an earlier look has learnt of a drop.

    serial: how often it came or changed. shards: key → digest of its content. at: (source, shard) to go on from, where
    the last look had no time for all of it; None when done. is_withdrawn: it has been seen to be gone.
    """

    stamp: str
    serial: int
    shards: Mapping[str, str] = field(default_factory=dict)
    at: tuple[int, int] | None = None
    is_withdrawn: bool = False


@dataclass(frozen=True)
class ShardRun:
    """A shard to run. run_key: the same for the same content of the same delivery. is_new: or changed."""

    shard_key: str
    run_key: str
    drop: str
    is_new: bool


@dataclass(frozen=True)
class Tick:
    """What one look came to.

    waiting: drop → why it is not taken yet. withdrawn: drops that are gone since the last look. vanished: shards that
    a drop has no more. postponed: drops that were left for the next look.
    """

    runs: tuple[ShardRun, ...]
    waiting: Mapping[str, str]
    withdrawn: tuple[str, ...]
    vanished: tuple[str, ...]
    postponed: int
    known: Mapping[str, Known]


def look(recipe: Recipe) -> list[Arrival]:
    """The drops of a recipe's dataset as they lie there, by name; nothing is opened.

    None where its folder is empty. Raises `RecipeError` where the folder is not there, or may not be read.
    """
    landing, path = recipe.settings.landing, recipe.dataset_path
    if landing.drops == "folders":
        return [
            _folder_arrival(folder, sources, landing.marker)
            for folder, sources in folder_drops(path, suffixes=recipe.suffixes)
        ]
    sources = find_sources(path, suffixes=recipe.suffixes, may_be_empty=True)
    return [arrival for source in sources if (arrival := _arrival(source, landing.marker)) is not None]


def _arrival(source: Source, marker: str) -> Arrival | None:
    """None where it went while we looked. A folder of videos is no drop here, or it would become one when the last
    manifest in it is withdrawn."""
    if source.path.is_dir():
        return _folder_arrival(source.path, [], marker)
    try:
        info = source.path.stat()
    except FileNotFoundError:
        return None
    has_marker = source.path.with_name(f"{source.path.name}.{marker}").exists()
    stamp = f"{info.st_size}-{info.st_mtime_ns}"
    return Arrival(source.name, (source,), stamp, max(info.st_mtime_ns, info.st_ctime_ns), has_marker)


def _folder_arrival(folder: Path, sources: Sequence[Source], marker: str) -> Arrival:
    digest, changed_ns, num_files = hashlib.blake2b(digest_size=12), 0, 0
    for parent, folders, names in os.walk(folder, followlinks=True):
        # What a mapper writes beside a drop's videos is no change of the drop.
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != PRODUCED_FOLDER)
        for name in sorted(names):
            if name.startswith(".") or (name == marker and Path(parent) == folder):
                continue
            path = Path(parent, name)
            try:
                info = path.stat()
            except OSError:  # it went while we looked, or is a link to nothing
                continue
            num_files += 1
            changed_ns = max(changed_ns, info.st_mtime_ns, info.st_ctime_ns)
            digest.update(json.dumps([os.path.relpath(path, folder), info.st_size, info.st_mtime_ns]).encode())
    has_marker = (folder / marker).exists()
    return Arrival(folder.name, tuple(sources), digest.hexdigest(), changed_ns, has_marker, num_files)


def why_wait(arrival: Arrival, landing: Landing, now_ns: int) -> str:
    """Why a drop is not complete yet; empty where it is."""
    if not arrival.sources and landing.drops == "manifests":
        return "videos without a manifest, which landing.drops: folders would take"
    if not arrival.sources:
        return f"no manifest and no videos among {arrival.num_files} files" if arrival.num_files else "empty"
    if landing.complete == "renamed":
        return ""
    if landing.complete == "marker":
        return "" if arrival.has_marker else f"{_marker_of(arrival, landing)} is not there yet"
    age_seconds = (now_ns - arrival.changed_ns) / 1e9
    if age_seconds < 0:
        return f"changed {-age_seconds:.0f} s from now by this machine's clock"
    if age_seconds < landing.quiet_seconds:
        return f"changed {age_seconds:.0f} s ago, taken after {landing.quiet_seconds:g} s"
    return ""


def _marker_of(arrival: Arrival, landing: Landing) -> str:
    path = arrival.sources[0].path
    in_folder = path.is_dir() or landing.drops == "folders"
    return f"{arrival.name}/{landing.marker}" if in_folder else f"{arrival.name}.{landing.marker}"


def advance(
    arrivals: Sequence[Arrival],
    known: Mapping[str, Known],
    recipe: Recipe,
    *,
    now_ns: int,
    most_shards: int,
    is_over: Callable[[], bool] = lambda: False,
) -> Tick:
    """Compare what has landed with what is known, up to so many shards, or until `is_over`.

    The same call with the same files gives the same run keys. A drop that came again as it was gives nothing; one
    that changed gives exactly the shards that differ. Raises `RecipeError` where a manifest cannot be read.
    """
    landing = recipe.settings.landing
    prefixes = key_prefixes(source.name for arrival in arrivals for source in arrival.sources)
    now_known = dict(known)
    runs: list[ShardRun] = []
    vanished: list[str] = []
    waiting: dict[str, str] = {}
    postponed = 0
    for arrival in arrivals:
        before = known.get(arrival.name)
        if before and before.stamp == arrival.stamp and before.at is None and not before.is_withdrawn:
            continue
        if reason := why_wait(arrival, landing, now_ns):
            waiting[arrival.name] = reason
        elif len(runs) >= most_shards or is_over():
            postponed += 1
        else:
            reading = _Reading(arrival, before)
            for key in reading.differing(recipe, prefixes, is_over):
                runs.append(reading.run(key))
                if len(runs) >= most_shards:
                    break
            now_known[arrival.name] = reading.known
            vanished += reading.vanished
            postponed += reading.known.at is not None
    names = {arrival.name for arrival in arrivals}
    withdrawn = [name for name, one in known.items() if name not in names and not one.is_withdrawn]
    now_known.update({name: replace(known[name], is_withdrawn=True) for name in withdrawn})
    return Tick(tuple(runs), waiting, tuple(withdrawn), tuple(vanished), postponed, now_known)


class _Reading:
    """One drop being compared, shard by shard; `known` is right whenever it is left off."""

    def __init__(self, arrival: Arrival, before: Known | None) -> None:
        self.arrival = arrival
        goes_on = before is not None and before.stamp == arrival.stamp and before.at is not None
        self.old = dict(before.shards) if before else {}
        self.serial = before.serial if before and goes_on else (before.serial if before else 0) + 1
        self.at: tuple[int, int] | None = before.at if before and goes_on else (0, 0)
        self.shards = dict(self.old)
        self.vanished: list[str] = []

    @property
    def known(self) -> Known:
        return Known(self.arrival.stamp, self.serial, self.shards, self.at)

    def run(self, key: str) -> ShardRun:
        run_key = f"{key}#{self.serial}:{self.shards[key]}"
        return ShardRun(key, run_key, self.arrival.name, is_new=key not in self.old)

    def differing(self, recipe: Recipe, prefixes: Mapping[str, str], is_over: Callable[[], bool]) -> Iterator[str]:
        """Keys of the shards whose content is another one than before, each noted before it is given. Ends early,
        after one shard at least, where `is_over` says so."""
        size = recipe.settings.shard_size
        assert self.at is not None
        first_source, first_shard = self.at
        for number, source in enumerate(self.arrival.sources[first_source:], first_source):
            index = first_shard if number == first_source else 0
            for digest in shard_digests(source, size, first=index, suffixes=recipe.suffixes):
                key = shard_key(prefixes[source.name], index)
                index += 1
                self.at = (number, index)
                if self.shards.get(key) != digest:
                    self.shards[key] = digest
                    yield key
                if is_over():
                    return
            self._forget_from(prefixes[source.name], index)
        self.at = None

    def _forget_from(self, prefix: str, count: int) -> None:
        """Shards of a source that has become shorter. count: how many it has now."""
        for key in list(self.shards):
            number = key.removeprefix(f"{prefix}-")
            if number != key and number.isdecimal() and int(number) >= count:
                del self.shards[key]
                self.vanished.append(key)


def to_text(known: Mapping[str, Known]) -> str:
    """What is known, as text that `from_text` reads."""
    return json.dumps({"format": FORMAT, "drops": {name: asdict(one) for name, one in sorted(known.items())}})


def from_text(text: str) -> dict[str, Known]:
    """The inverse of `to_text`. Raises ValueError for anything else."""
    try:
        found: dict[str, Any] = json.loads(text)
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}, expected {FORMAT}")
        return {
            name: Known(**{**one, "at": None if one["at"] is None else tuple(one["at"])})
            for name, one in found["drops"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not what is known of a landing folder: {error!r}") from None
