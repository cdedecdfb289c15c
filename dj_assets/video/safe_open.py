"""Open what a manifest line names, if it is a regular file inside the allowed roots; recognise it by its content.

A manifest is untrusted text. FFmpeg and OpenCV fetch URLs, follow playlists and expand patterns in "paths", so no path
ever reaches them: they get a file object of a descriptor that was checked after it was opened.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from dj_assets.errors import Missing, Refused, TooLarge, Unreadable

_PROTOCOL = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]*(,[^/]*)?:")
_HASH_BYTES = 16


@dataclass(frozen=True)
class MediaLimits:
    """What a file may be before it is set aside. Sizes in pixels, frames and bytes."""

    max_pixels: int = 35_389_440
    max_frames: int = 2_000_000
    max_bytes: int = 64 * 1024**3


@dataclass(frozen=True)
class Identity:
    """A file by its content. content_hash: BLAKE2b-128, hex."""

    content_hash: str
    num_bytes: int
    modified_ns: int


def open_file(path: str, *, roots: Sequence[Path], limits: MediaLimits) -> BufferedReader:
    """Open a regular file inside one of the roots, symlinks resolved. Nothing is ever fetched.

    Raises `Refused` (URL, outside the roots, not a regular file), `Missing`, `Unreadable` (empty, no permission),
    `TooLarge`.
    """
    resolved = _resolve(path, roots)
    try:
        # O_NONBLOCK: opening a pipe must not wait for a writer. O_NOFOLLOW: a link swapped in since is not followed.
        descriptor = os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_open(path, error) from None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise Refused(f"{path} is not a regular file", allowed="regular files", try_="remove the line")
    file = os.fdopen(descriptor, "rb")
    try:
        if facts.st_size == 0:
            raise Unreadable(f"{path} is empty (0 bytes)", allowed="a video file", try_="fetch it again")
        if facts.st_size > limits.max_bytes:
            raise TooLarge(
                f"{path} has {facts.st_size / 2**20:.0f} MiB",
                allowed=f"at most {limits.max_bytes / 2**20:.0f} MiB",
                try_="raise dj_assets: limits: max_file_mb",
            )
    except BaseException:
        file.close()
        raise
    return file


def identify(path: str, *, roots: Sequence[Path], limits: MediaLimits, known: Identity | None = None) -> Identity:
    """Hash a file's bytes, unless its size and time are those of `known`. Raises as `open_file` does, and `Unreadable`
    when the disk fails."""
    with open_file(path, roots=roots, limits=limits) as file:
        facts = os.fstat(file.fileno())
        if known is not None and (facts.st_size, facts.st_mtime_ns) == (known.num_bytes, known.modified_ns):
            return known
        try:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_HASH_BYTES))
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror or error}", try_="check the disk") from None
        facts = os.fstat(file.fileno())
    return Identity(digest.hexdigest(), facts.st_size, facts.st_mtime_ns)


def _resolve(path: str, roots: Sequence[Path]) -> str:
    if "\0" in path or not path:
        raise Refused(f"{path!r} is not a path", allowed="the path of a video file", try_="mend the manifest line")
    if _PROTOCOL.match(path):
        raise Refused(
            f"{path} is a URL or protocol string, not a file",
            allowed="paths of local files; nothing is fetched",
            try_="download it first and name the local file",
        )
    resolved = os.path.realpath(path)
    real_roots = [os.path.realpath(root) for root in roots]
    if not any(resolved == root or resolved.startswith(root.rstrip(os.sep) + os.sep) for root in real_roots):
        raise Refused(
            f"{path} lies outside the dataset's folders",
            allowed="files under " + ", ".join(str(root) for root in roots),
            try_="add its folder to dj_assets: roots, if you trust it",
        )
    return resolved


def _cannot_open(path: str, error: OSError) -> Missing | Refused | Unreadable:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Missing(
            f"{path} does not exist", allowed="a file that is there", try_="check the path or fetch it again"
        )
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        return Refused(f"{path} is not a regular file", allowed="regular files", try_="remove the line")
    return Unreadable(
        f"{path}: {error.strerror}", allowed="a file that this user may read", try_="check its permissions"
    )
