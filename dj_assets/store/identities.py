"""Which bytes lay at which path, so that an unchanged file is not read again to know its content.

A file is taken for unchanged when path, size and modification time are. A file written within `SETTLING_SECONDS` of
being looked at is not remembered: it could change again within the clock's grain and show the same time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable
from pathlib import Path

from dj_assets.samples import Sample, Shard, Video
from dj_assets.store import files

log = logging.getLogger(__name__)

SETTLING_SECONDS = 2.0

Known = dict[str, tuple[str, int, int]]
"""path -> (content hash, bytes, modification time in ns)."""


def remember(root: Path, shard: Shard, samples: Iterable[Sample]) -> None:
    """Write down what a shard's files were, in place of what was known of it. Raises `StoreError`."""
    settled_ns = time.time_ns() - int(SETTLING_SECONDS * 1e9)
    known = {
        video.path: (video.content_hash, video.num_bytes, video.modified_ns)
        for video in (video for sample in samples for video in sample.videos)
        if _is_settled(video, settled_ns)
    }
    text = json.dumps(known, ensure_ascii=True)
    files.write_atomically(_path(root, shard), lambda temporary: _write(temporary, text))


def recall(root: Path, shard: Shard) -> Known:
    """What is known of a shard's files; nothing where that cannot be read."""
    try:
        found = json.loads(_path(root, shard).read_text(encoding="utf-8"))
        return {path: (str(content), int(size), int(time_ns)) for path, (content, size, time_ns) in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("identities of shard %s are read anew: %s", shard.key, error)
        return {}


def _is_settled(video: Video, settled_ns: int) -> bool:
    return bool(video.content_hash) and video.modified_ns < settled_ns


def _path(root: Path, shard: Shard) -> Path:
    """One file per slice of a manifest, so that recipes over the same data share it."""
    name = f"{shard.source}\0{shard.start}\0{shard.size}"
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    return root / "identities" / digest[:2] / f"{digest}.json"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
