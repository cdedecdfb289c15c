"""Shared nouns of data: samples and their videos; finding drops, cutting them into shards, reading those.

    dataset_path ─find_drops→ drops ─cut_shards→ shards ─read_shard→ samples

Only the environment's faults raise here (no such dataset, no permission). A record that is not a sample
becomes a sample whose status is `malformed`, with its place and its reason.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from dj_assets.errors import Malformed, RecipeError, Status
from dj_assets.manifests import (
    MANIFEST_SUFFIXES,
    Entry,
    entries,
    json_type,
    manifest_suffix,
    num_entries,
    one_line,
    parse_object,
    unreadable,
)

VIDEO_TOKEN = "<__dj__video>"
IMAGE_TOKEN = "<__dj__image>"
AUDIO_TOKEN = "<__dj__audio>"
CHUNK_END = "<|__dj__eoc|>"
SOURCE_FIELD = "__dj__source_file__"
PRODUCED_FOLDER = "__dj__produced_data__"
"""Folder beside videos that mappers write into; what is in it belongs to no dataset that it lies in."""

MADE_MARK = "__dj_"
"""In the name of every file that mappers make."""

STATS_FIELD = "__dj__stats__"
META_FIELD = "__dj__meta__"
VERDICT_FIELD = "__dj__verdict__"

VIDEO_SUFFIXES = (
    *(
        ".3gp",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
    ),
    *(".ts", ".vob", ".webm", ".wmv"),
)

MAX_RAW_CHARACTERS = 10_000
"""How much of a malformed record is kept."""


class Subject(Protocol):
    """What a row of a stats table is about: a video of a sample, or the sample itself.

    field: manifest field that lists the video; empty for the sample itself. position: index in it. given: what people
    know it by. path: of its file, empty where it has none. content_hash: BLAKE2b-128 of what is looked at, hex.
    status, reason: `ok`, or why no operator can measure it.
    """

    @property
    def field(self) -> str: ...
    @property
    def position(self) -> int: ...
    @property
    def given(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def content_hash(self) -> str: ...
    @property
    def status(self) -> Status: ...
    @property
    def reason(self) -> str: ...


SAMPLE_FIELD = ""
"""`field` of rows about samples themselves; no manifest field that lists videos is called so."""


@dataclass(frozen=True)
class SampleItself:
    """A sample as a subject: its record is what is looked at. given: the sample's id."""

    given: str
    record: dict[str, Any]
    status: Status = "ok"
    reason: str = ""
    field: str = SAMPLE_FIELD
    position: int = 0
    path: str = ""

    @property
    def content_hash(self) -> str:
        """Of the record; computed, and few ask."""
        return record_hash(self.record)


@dataclass(frozen=True)
class Video:
    """One video of one sample.

    field: manifest field that lists it (`videos`). position: index in that list.
    given: the path as the manifest spells it. path: absolute, symlinks not resolved; a URL or protocol string
    as given, for the room that opens files to refuse; empty where it cannot be a path at all.
    content_hash: BLAKE2b-128 of the file's bytes, hex; empty where the file was not read.
    status, reason: `ok`, or why the file cannot be measured by any operator.
    """

    field: str
    position: int
    given: str
    path: str
    content_hash: str = ""
    num_bytes: int = 0
    modified_ns: int = 0
    status: Status = "ok"
    reason: str = ""

    @property
    def text(self) -> str:
        """With which it is measured; empty where it is measured alone."""
        return ""

    @property
    def file_hash(self) -> str:
        """Of the bytes alone."""
        return self.content_hash.partition(TEXT_MARK)[0]


@dataclass(frozen=True)
class VideoAndText(Video):
    """A video as an operator sees it that reads text. content_hash: of both, see `content_key`."""

    text: str = ""  # a field where its base has a property that is always empty


TEXT_MARK = "+"
"""Between the hash of a video's bytes and that of the text with which it is measured."""


def content_key(file_hash: str, text: str) -> str:
    """What facts of a video are kept under: its bytes, and the text with which it was measured, if any.

    >>> content_key("00ff", "a dog")
    '00ff+cbb6f7ef4ccba1a7'
    """
    if not text:
        return file_hash
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{file_hash}{TEXT_MARK}{digest}"


@dataclass(frozen=True)
class Texts:
    """Which part of a sample's text is about which of its videos. chunk_end: Data-Juicer's end-of-chunk token."""

    text_key: str = "text"
    video_token: str = VIDEO_TOKEN
    chunk_end: str = CHUNK_END

    def give_to(self, videos: Sequence[Video], record: Mapping[str, Any]) -> tuple[Video, ...]:
        """The videos of one field, each with its text and a `content_hash` of both; or without one, and why.

        As upstream, a chunk of the text with k video tokens is about the next k videos. Where no chunk has any, the
        whole text is about each video.
        """
        given = record.get(self.text_key)
        if not isinstance(given, str):
            why = f"the sample has no text: field {self.text_key!r} is {json_type(given)}"
            return tuple(_without_text(video, why) for video in videos)
        texts = self._of_videos(given.encode("utf-8", "replace").decode("utf-8"))
        found = []
        for number, video in enumerate(videos):
            text = texts[0] if self.video_token not in given else texts[number] if number < len(texts) else None
            if text is None:
                found.append(_without_text(video, f"the text has {len(texts)} video tokens, and is not about this one"))
            elif not text:
                found.append(_without_text(video, "the text about this video is empty"))
            elif video.content_hash:
                key = content_key(video.content_hash, text)
                found.append(VideoAndText(**{**vars(video), "content_hash": key}, text=text))
            else:
                found.append(video)
        return tuple(found)

    def _of_videos(self, text: str) -> list[str]:
        """The text about the first video, the second …; one text where there is no token."""
        if self.video_token not in text:
            return [self.plain(text.replace(self.chunk_end, " "))]
        chunks = text.split(self.chunk_end)
        return [self.plain(chunk) for chunk in chunks for _ in range(chunk.count(self.video_token))]

    def plain(self, text: str) -> str:
        """Without special tokens, as upstream strips them."""
        for token in (IMAGE_TOKEN, AUDIO_TOKEN, self.video_token, self.chunk_end):
            text = text.replace(token, "").strip()
        return text


def _without_text(video: Video, why: str) -> Video:
    """A video that cannot be measured for want of a text; what is wrong with its file comes first."""
    if video.status != "ok":
        return video
    return replace(video, content_hash="", status="no_value", reason=why)


@dataclass(frozen=True)
class Made:
    """One product of a mapper, as the sample that holds it knows it.

    path: absolute; empty for words. content_hash: of the file; empty for words. parent_path, parent_hash: the video
    that it was made of. begin_seconds, end_seconds: what it shows of that, on that one's clock, its first frame at 0.
    """

    path: str
    content_hash: str
    parent_path: str
    parent_hash: str
    begin_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Sample:
    """One manifest record, or what a mapper made of one.

    sample_id: `<drop>:<line number>`, unique in its dataset and stable while lines keep their place. Of a sample that a
    mapper made: the id of the one that it was made of and `#1`, `#2` …; `#0` is that one itself, where it stays.
    line_number: 1-based. The line in a JSONL file (blank ones count), the element in a JSON array, the row in
    a Parquet file, the file in a sorted folder of videos.
    record: the user's record, every field untouched ({} where the line is malformed).
    raw: the line as it stood, kept only where it is malformed, cut with a mark where it is long.
    status, reason: `ok`, or why it is no sample: a malformed line, or a video of which a mapper could make nothing.
    parent_id, parent_recipe, made_by, measure_id: the sample that it was made of, the stage that this one is of, the
    mapper step's key, and its measure; empty for those of the dataset. made: the products, in order.
    """

    sample_id: str
    drop: str
    line_number: int
    record: dict[str, Any]
    videos: tuple[Video, ...] = ()
    status: Status = "ok"
    reason: str = ""
    raw: str = ""
    parent_id: str = ""
    parent_recipe: str = ""
    made_by: str = ""
    measure_id: str = ""
    made: tuple[Made, ...] = ()

    @property
    def itself(self) -> SampleItself:
        """The sample as a subject."""
        return SampleItself(self.sample_id, self.record, self.status, self.reason)


@dataclass(frozen=True)
class Shard:
    """A partition: at most `size` samples of one data drop, from record `start` on (0-based, blank lines not
    counted)."""

    key: str
    drop: str
    source: Path
    start: int
    size: int


class Source(NamedTuple):
    """A data drop's name, and the manifest or folder of videos that it is."""

    name: str
    path: Path


@dataclass(frozen=True)
class Drop:
    """A manifest, or a folder of videos without one.

    name: path relative to the dataset's folder, so that it does not change when other drops come or go.
    """

    name: str
    source: Path
    num_samples: int


# --- drops and shards


def dataset_root(dataset_path: Path) -> Path:
    """Folder that a dataset lies in, and the default root that its videos may lie in.

    The folder itself, the one that holds the manifest, or the part of a glob before its first wildcard.
    """
    if dataset_path.is_dir():
        return dataset_path
    if dataset_path.exists() or not _has_wildcard(str(dataset_path)):
        return dataset_path.parent
    fixed = next(index for index, part in enumerate(dataset_path.parts) if _has_wildcard(part))
    return Path(*dataset_path.parts[:fixed])


def find_drops(dataset_path: Path, *, suffixes: Sequence[str] = (), by_folder: bool = False) -> list[Drop]:
    """Data drops of a dataset, sorted by name: a manifest; a folder or glob of manifests; a folder of videos.

    Folders are searched to any depth, hidden entries left out; one that holds any manifest is a folder of
    manifests. by_folder: so is each folder in `dataset_path` taken for itself, which may therefore hold manifests in
    some of them and videos in others. suffixes: narrows a folder or glob to files with these endings (`.parquet`,
    `.mp4`). Raises `RecipeError` where there is nothing that can be read.
    """
    sources = find_sources(dataset_path, suffixes=suffixes, by_folder=by_folder)
    return [Drop(source.name, source.path, num_samples(source, suffixes)) for source in sources]


def find_sources(
    dataset_path: Path, *, suffixes: Sequence[str] = (), by_folder: bool = False, may_be_empty: bool = False
) -> list[Source]:
    """The drops of `find_drops` before anything of them is opened and counted. may_be_empty: a folder without any drop
    is no error."""
    if by_folder:
        sources = [source for _, sources in folder_drops(dataset_path, suffixes=suffixes) for source in sources]
        if not sources and not may_be_empty:
            raise _no_dataset(dataset_path, "has no folder with manifests or videos in it")
        return sources
    return [Source(name, path) for name, path in _sources(dataset_path, suffixes, may_be_empty)]


def folder_drops(dataset_path: Path, *, suffixes: Sequence[str] = ()) -> list[tuple[Path, list[Source]]]:
    """Each folder in `dataset_path`, by name, with its manifests, or else itself where it has videos."""
    if not dataset_path.is_dir():
        raise _no_dataset(dataset_path, "is not a folder of folders" if dataset_path.exists() else "does not exist")
    try:
        folders = sorted(path for path in dataset_path.iterdir() if path.is_dir() and _is_shown(path.name))
    except OSError as error:
        raise unreadable(dataset_path, error.strerror or str(error)) from None
    return [(folder, _sources_in(folder, suffixes)) for folder in folders]


def _sources_in(folder: Path, suffixes: Sequence[str]) -> list[Source]:
    manifests = _select(_files_below(folder), MANIFEST_SUFFIXES, suffixes)
    if manifests:
        return [Source(_printable(f"{folder.name}/{name}"), folder / name) for name in manifests]
    return [Source(_printable(folder.name), folder)] if _videos_below(folder, suffixes) else []


def num_samples(source: Source, suffixes: Sequence[str] = ()) -> int:
    """Records of a manifest, videos of a folder. Raises `RecipeError` where it cannot be read."""
    return len(_videos_below(source.path, suffixes)) if source.path.is_dir() else num_entries(source.path)


def cut_shards(drops: Iterable[Drop], shard_size: int) -> list[Shard]:
    """Partitions of the drops, in order. Keys: `<drop>-<00000>` over [A-Za-z0-9._-], at most 100 characters.

    A drop's key depends on its own name alone (a name that had to be changed carries a digest), so that
    shards keep their keys when other drops come or go, or when a manifest grows.
    """
    counted = list(drops)
    prefixes = key_prefixes(drop.name for drop in counted)
    return [
        Shard(shard_key(prefixes[drop.name], index), drop.name, drop.source, start, shard_size)
        for drop in counted
        for index, start in enumerate(range(0, drop.num_samples, shard_size))
    ]


def key_prefixes(drop_names: Iterable[str]) -> dict[str, str]:
    """Drop → what the keys of its shards begin with. drop_names: all of a dataset's, in its order."""
    prefixes: dict[str, str] = {}
    taken: set[str] = set()
    for name in drop_names:
        prefix = _safe_name(name)
        if prefix in taken:
            prefix = f"{prefix}-{_digest(name)}"
        taken.add(prefix)
        prefixes[name] = prefix
    return prefixes


def shard_key(prefix: str, index: int) -> str:
    """The key of a drop's shard, counted from 0."""
    return f"{prefix}-{index:05d}"


def shard_digests(source: Source, shard_size: int, *, first: int = 0, suffixes: Sequence[str] = ()) -> Iterator[str]:
    """A digest of each shard's content from shard `first` on: of its records as they stand, line numbers included;
    of its videos' names, sizes and times. Reads a shard at a time. Raises `RecipeError` where it cannot be read."""
    if source.path.is_dir():
        names = _videos_below(source.path, suffixes)[first * shard_size :]
        facts: Iterator[Any] = (_file_facts(source.path, name) for name in names)
    else:
        facts = ([e.number, _raw_text(e.data, cut=False), e.fault] for e in entries(source.path, first * shard_size))
    while shard := list(islice(facts, shard_size)):
        digest = hashlib.blake2b(digest_size=12)
        for fact in shard:
            digest.update(json.dumps(fact, ensure_ascii=True, default=str).encode() + b"\n")
        yield digest.hexdigest()


def _file_facts(folder: Path, name: str) -> list[Any]:
    try:
        info = (folder / name).stat()
    except OSError as error:
        return [name, error.errno]
    return [name, info.st_size, info.st_mtime_ns]


def read_shard(
    shard: Shard,
    *,
    video_keys: Sequence[str],
    text_key: str = "text",
    video_special_token: str = VIDEO_TOKEN,
    suffixes: Sequence[str] = (),
) -> list[Sample]:
    """Samples of a shard in manifest order, their videos not yet looked at. Raises `RecipeError` where the
    drop cannot be read.

    A folder of videos gives a sample per file, {text_key: video_special_token, video_keys[0]: [its path]}.
    Relative paths resolve against the folder that holds the manifest.
    """
    stop = shard.start + shard.size
    if not shard.source.is_dir():
        found = entries(shard.source, shard.start, stop)
        return [_sample(entry, shard.drop, shard.source.parent, video_keys) for entry in found]
    paths = _videos_below(shard.source, suffixes)[shard.start : stop]
    records = [{text_key: video_special_token, video_keys[0]: [path]} for path in paths]
    return [
        _sample(Entry(number, record, place="file"), shard.drop, shard.source, video_keys)
        for number, record in enumerate(records, shard.start + 1)
    ]


def manifest_schema(dataset_path: Path, drop: str) -> Any:
    """Arrow schema of a Parquet drop, None for any other. Lets an export keep the types of its columns.

    Raises `RecipeError` where the drop cannot be read any more.
    """
    if manifest_suffix(drop) != ".parquet":
        return None
    source = dataset_root(dataset_path) / drop  # which is how drops are named
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(source)
    except pa.ArrowException:  # not Parquet: its only sample is malformed
        return None
    except OSError as error:
        raise unreadable(source, one_line(error)) from None


def _sources(dataset_path: Path, suffixes: Sequence[str], may_be_empty: bool = False) -> list[tuple[str, Path]]:
    """(drop name, manifest or folder of videos), sorted by name; no manifest is opened."""
    try:
        root = dataset_root(dataset_path)
        is_folder, exists = dataset_path.is_dir(), dataset_path.exists()
    except OSError as error:
        raise unreadable(dataset_path, error.strerror or str(error)) from None
    if is_folder:
        manifests = _select(_files_below(dataset_path), MANIFEST_SUFFIXES, suffixes)
        if not manifests and _videos_below(dataset_path, suffixes):
            return [(_printable(dataset_path.name or "videos"), dataset_path)]
    elif exists:
        manifests = _select([dataset_path.name], MANIFEST_SUFFIXES, ())
    elif _has_wildcard(str(dataset_path)):
        manifests = _select(_files_matching(dataset_path, root), MANIFEST_SUFFIXES, suffixes)
    else:
        raise _no_dataset(dataset_path, "does not exist")
    if not manifests and not (may_be_empty and is_folder):
        raise _no_dataset(
            dataset_path,
            "is not a manifest" if exists and not is_folder else "gives no manifest and no videos",
        )
    return [(_printable(name), root / name) for name in manifests]


def _no_dataset(dataset_path: Path, what: str) -> RecipeError:
    try:
        siblings = [path.name for path in dataset_path.parent.iterdir() if path != dataset_path]
    except OSError:
        siblings = []
    near = get_close_matches(dataset_path.name, siblings, n=2, cutoff=0.6)
    return RecipeError(
        f"dataset_path {str(dataset_path)!r} {what}",
        allowed=f"a manifest ({' '.join(MANIFEST_SUFFIXES)}), a folder or glob of them, a folder of videos",
        try_=f"did you mean {' or '.join(near)}?" if near else "check the path and, if set, `suffixes`",
        option="dataset_path",
    )


def _files_matching(pattern: Path, root: Path) -> list[str]:
    """Files that match a glob, and files below folders that match it: sorted paths relative to `root`."""
    found: set[str] = set()
    for path in root.glob(str(pattern.relative_to(root))):
        relative = path.relative_to(root)
        if path.is_dir():
            found.update(str(relative / name) for name in _files_below(path))
        else:
            found.add(str(relative))
    return sorted(found)


def _files_below(folder: Path) -> list[str]:
    """Relative paths of all files below a folder, sorted, hidden files and folders left out, and what mappers produced.

    Linked folders are followed, each real folder once: a dataset is often a folder of links to disks.
    """

    def fail(error: OSError) -> None:
        raise unreadable(error.filename, error.strerror or str(error))

    seen: set[str] = set()
    found: list[str] = []
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if _is_shown(name))
        relative = Path(parent).relative_to(folder)
        found.extend(str(relative / name) for name in files if not name.startswith("."))
    return sorted(found)


def _is_shown(name: str) -> bool:
    """Whether a folder is part of the dataset that it lies in."""
    return not name.startswith(".") and name != PRODUCED_FOLDER


def _videos_below(folder: Path, suffixes: Sequence[str]) -> list[str]:
    wanted = [suffix for suffix in _normalised(suffixes) if suffix not in MANIFEST_SUFFIXES]
    if suffixes and not wanted:
        return []
    return _select(_files_below(folder), wanted or VIDEO_SUFFIXES, ())


def _select(names: Iterable[str], known: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    """Names that end in a known suffix and, where some are given, in one of `suffixes`."""
    wanted = set(known)
    if suffixes:
        wanted &= set(_normalised(suffixes))
    return [name for name in names if manifest_suffix(name, wanted)]


def _normalised(suffixes: Sequence[str]) -> list[str]:
    return [suffix.lower() if suffix.startswith(".") else f".{suffix.lower()}" for suffix in suffixes]


def _has_wildcard(text: str) -> bool:
    return any(character in text for character in "*?[")


def _printable(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a file name that are none show as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _safe_name(name: str) -> str:
    """A drop's name as the first part of a shard key. A plain `a.jsonl` gives `a`; a name that has to be
    changed gets a digest of the whole name, so that no two of them meet."""
    plain = name.removesuffix(".jsonl")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    safe = re.sub(r"\.{2,}", ".", safe)[:70].strip(".-")
    return safe if safe and safe == plain else f"{safe or 'drop'}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


# --- entries into samples


def _sample(entry: Entry, drop: str, folder: Path, video_keys: Sequence[str]) -> Sample:
    sample_id = f"{drop}:{entry.number}"
    try:
        if entry.fault:
            raise Malformed(entry.fault)
        record = parse_object(entry.data) if isinstance(entry.data, bytes) else entry.data
        videos = tuple(video for key in dict.fromkeys(video_keys) for video in _videos(record, key, folder))
    except Malformed as error:
        reason = f"{entry.place} {entry.number}: {error.given}"
        return Sample(sample_id, drop, entry.number, {}, (), "malformed", reason, _raw_text(entry.data))
    return Sample(sample_id, drop, entry.number, record, videos)


def _videos(record: dict[str, Any], key: str, folder: Path) -> Iterator[Video]:
    """Videos of one field. None and a missing field are no videos; a string is one. Raises `Malformed`."""
    value = record.get(key)
    paths = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(paths, list):
        raise Malformed(f"field {key!r} is {json_type(value)}, expected a list of paths")
    for position, given in enumerate(paths):
        if not isinstance(given, str):
            raise Malformed(f"field {key!r} holds {json_type(given)} at position {position}, expected a path")
        yield _video(key, position, given, folder)


def _video(key: str, position: int, given: str, folder: Path) -> Video:
    if not given:
        return Video(key, position, given, "", status="missing", reason="the path is empty")
    if "\0" in given or _printable(given) != given:
        reason = "the path holds a null character, or is not UTF-8: rename the file"
        return Video(key, position, _printable(given), "", status="refused", reason=reason)
    if _PROTOCOL.match(given):
        return Video(key, position, given, given)
    return Video(key, position, given, os.path.normpath(folder / given))


_PROTOCOL = re.compile(
    r"[a-z][a-z0-9+.-]*://"
    r"|(async|cache|concat|concatf|crypto|data|fd|file|ftp|gopher|hls|https?|md5|mmsh|mmst|pipe|rtmp|rtp|rtsp|sftp"
    r"|smb|srt|subfile|tcp|tee|tls|udp|unix)(\+[a-z]+)?[:,]",
    re.IGNORECASE,
)
"""A URL, or a string that FFmpeg would take for one of its protocols. A plain `take:2.mp4` is a file name."""


def _raw_text(data: bytes | dict[str, Any], *, cut: bool = True) -> str:
    raw = to_json(data) if isinstance(data, dict) else data.decode("utf-8", "backslashreplace")
    raw = raw.strip("\r\n")
    if cut and len(raw) > MAX_RAW_CHARACTERS:
        return f"{raw[:MAX_RAW_CHARACTERS]}… [cut after {MAX_RAW_CHARACTERS} characters]"
    return raw


# --- records as text


def to_json(record: Any) -> str:
    """One line of JSON as exports hold it: UTF-8 unescaped, except where half a surrogate pair forbids it.

    What Parquet has and JSON has not becomes text: bytes as base64, times in ISO form, decimals as written;
    durations become seconds.
    """
    return _one_json_line(record, _plain)


def dumps_record(record: dict[str, Any]) -> str:
    """JSON from which `loads_record` gives back the very same record, types of Parquet manifests included."""
    return _one_json_line(_tagged(record), None)


def record_hash(record: dict[str, Any]) -> str:
    """BLAKE2b-128 of a record as stores hold it, hex."""
    return hashlib.blake2b(dumps_record(record).encode(), digest_size=16).hexdigest()


def loads_record(text: str) -> dict[str, Any]:
    """Inverse of `dumps_record`."""
    # Nearly no record has a type that JSON has not, and looking at each object takes as long as reading the text.
    return json.loads(text, object_hook=_untagged if _TAG in text else None)


def _one_json_line(value: Any, default: Callable[[Any], Any] | None) -> str:
    text = json.dumps(value, ensure_ascii=False, default=default)
    return text if _printable(text) == text else json.dumps(value, default=default)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


_TAG = "__dj_assets_type__"

_TAGGED: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    # name: (type, into JSON, out of JSON). datetime stands before date, of which it is a subclass.
    "bytes": (bytes, lambda value: base64.b64encode(value).decode(), base64.b64decode),
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "timedelta": (
        timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda v: timedelta(*v),
    ),
    "decimal": (Decimal, str, Decimal),
    "uuid": (UUID, str, UUID),
    "tuple": (tuple, lambda value: [_tagged(item) for item in value], tuple),
}


def _tagged(value: Any) -> Any:
    if isinstance(value, dict):
        items = {key: _tagged(item) for key, item in value.items()}
        return {_TAG: "dict", "value": list(items.items())} if _TAG in value else items
    if isinstance(value, list):
        return [_tagged(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    for name, (kind, into_json, _) in _TAGGED.items():
        if isinstance(value, kind):
            return {_TAG: name, "value": into_json(value)}
    raise TypeError(f"record holds a {type(value).__name__}, which has no JSON form here")


def _untagged(value: dict[str, Any]) -> Any:
    name = value.get(_TAG)
    if name is None:
        return value
    return dict(value["value"]) if name == "dict" else _TAGGED[name][2](value["value"])
