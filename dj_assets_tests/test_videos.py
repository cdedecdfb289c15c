"""Clips made in code leave the process as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dj_assets_tests import videos


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no such scheduling")
@pytest.mark.parametrize("name", sorted(videos.CODECS))
def test_no_encoder_changes_how_the_process_is_scheduled(name: str, tmp_path: Path) -> None:
    codec, suffix, options = videos.CODECS[name]
    before = os.sched_getscheduler(0)
    videos.write_video(tmp_path / f"clip{suffix}", videos.numbered(num_frames=4), codec=codec, options=options)
    assert os.sched_getscheduler(0) == before
