"""What is opened, and what is not."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dj_assets.errors import MediaError, Missing, Refused, TooLarge, Unreadable
from dj_assets.video.safe_open import MediaLimits, identify, open_file

LIMITS = MediaLimits()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"abc")
    (tmp_path / "outside.mp4").write_bytes(b"secret")
    (tmp_path / "root-sibling").mkdir()
    (tmp_path / "root-sibling" / "b.mp4").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize(
    ("name", "path", "error"),
    [
        ("absolute path elsewhere", "/etc/passwd", Refused),
        ("parent folder", "{root}/../outside.mp4", Refused),
        ("folder whose name merely starts like the root", "{root}-sibling/b.mp4", Refused),
        ("web address", "http://127.0.0.1:9/x.mp4", Refused),
        ("object store address", "s3://bucket/x.mp4", Refused),
        ("FFmpeg protocol", "concat:{root}/a.mp4|/etc/passwd", Refused),
        ("FFmpeg protocol with options", "subfile,,start,0,end,9,,:{root}/a.mp4", Refused),
        ("file address", "file:{root}/a.mp4", Refused),
        ("null byte", "{root}/a\0.mp4", Refused),
        ("nothing", "", Refused),
        ("folder", "{root}", Refused),
        ("missing", "{root}/none.mp4", Missing),
        ("below a file", "{root}/a.mp4/b", Missing),
        ("image pattern", "{root}/%03d.png", Missing),
    ],
)
def test_refused_and_missing(root: Path, name: str, path: str, error: type[MediaError]) -> None:
    with pytest.raises(error) as caught:
        open_file(path.format(root=root), roots=[root], limits=LIMITS)
    assert caught.value.given and caught.value.allowed and caught.value.try_, name


def test_links_are_followed_only_inside_the_roots(root: Path) -> None:
    (root / "in.mp4").symlink_to(root / "a.mp4")
    (root / "out.mp4").symlink_to(root.parent / "outside.mp4")
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    with open_file(str(root / "in.mp4"), roots=[root], limits=LIMITS) as file:
        assert file.read() == b"abc"
    with pytest.raises(Refused, match="outside"):
        open_file(str(root / "out.mp4"), roots=[root], limits=LIMITS)
    with pytest.raises(MediaError):
        open_file(str(root / "loop.mp4"), roots=[root], limits=LIMITS)


def test_a_pipe_is_refused_without_waiting_for_a_writer(root: Path) -> None:
    os.mkfifo(root / "pipe.mp4")
    with pytest.raises(Refused, match="not a regular file"):
        open_file(str(root / "pipe.mp4"), roots=[root], limits=LIMITS)


def test_empty_and_large_files_have_their_own_reasons(root: Path) -> None:
    (root / "empty.mp4").touch()
    with pytest.raises(Unreadable, match="empty"):
        open_file(str(root / "empty.mp4"), roots=[root], limits=LIMITS)
    with pytest.raises(TooLarge, match="max_file_mb"):
        open_file(str(root / "a.mp4"), roots=[root], limits=MediaLimits(max_bytes=2))


def test_identity_is_of_the_content(root: Path) -> None:
    (root / "copy.mp4").write_bytes(b"abc")
    first = identify(str(root / "a.mp4"), roots=[root], limits=LIMITS)
    second = identify(str(root / "copy.mp4"), roots=[root], limits=LIMITS)
    assert first.content_hash == second.content_hash == hashlib.blake2b(b"abc", digest_size=16).hexdigest()
    assert first.num_bytes == 3
    (root / "a.mp4").write_bytes(b"abd")
    assert identify(str(root / "a.mp4"), roots=[root], limits=LIMITS).content_hash != second.content_hash


def test_a_second_root_may_be_allowed(root: Path) -> None:
    outside = root.parent / "outside.mp4"
    with open_file(str(outside), roots=[root, root.parent], limits=LIMITS) as file:
        assert file.read() == b"secret"
