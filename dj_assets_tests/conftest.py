"""Fixtures shared by the whole tree."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dj_assets_tests.videos import numbered, shifting, texture, write_video

os.environ.setdefault("DJ_ASSETS_DEVICE", "cpu")  # the tests state CPU numbers, also where there is a GPU

# A runner that starts in the background of a shell ignores Ctrl-C, and so would every process that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

MEDIA = Path(__file__).resolve().parents[1].parent / "shared" / "media"


@pytest.fixture(autouse=True)
def _no_instance_left_behind() -> Iterator[None]:
    """Dagster keeps in a global what an instance knows of definitions' state, and loads definitions by it.

    A run in this process may leave that of an instance that is gone: every later test that loads definitions then
    fails, or not, as the garbage collector likes.
    """
    yield
    if "dagster" in sys.modules:
        from dagster._core.storage.defs_state.base import _current_storage

        _current_storage.set(None)


@pytest.fixture
def media() -> Path:
    """The tutorial's clips, where the checkout has them beside it."""
    if not (MEDIA / "video1.mp4").exists():
        pytest.skip("needs the tutorial's clips in ../shared/media")
    return MEDIA


@pytest.fixture(scope="session")
def moving_2px(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames at 24 fps, 96x128 (h x w), every pixel moving right by 2 px a frame, lossless H.264."""
    path = tmp_path_factory.mktemp("videos") / "moving_2px.mp4"
    frames = shifting(texture(height=96, width=128), num_frames=24, pixels_per_frame=2)
    return write_video(path, frames, lossless=True)


@pytest.fixture(scope="session")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 equal frames at 24 fps, 96x128 (h x w), lossless H.264."""
    path = tmp_path_factory.mktemp("videos") / "still.mp4"
    return write_video(path, [texture(height=96, width=128, seed=1)] * 24, lossless=True)


@pytest.fixture(scope="session")
def numbered_24(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames at 24 fps, 64x64; frame k is flat grey of 8 * k + 16."""
    return write_video(tmp_path_factory.mktemp("videos") / "numbered.mp4", numbered(num_frames=24), lossless=True)


@pytest.fixture
def operator_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of an installed outside package `scratch_operators`: files put there are operators."""
    root = tmp_path / "site"
    folder = root / "scratch_operators"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    info = root / "scratch_operators-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scratch-operators\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dj_assets.operators]\nscratch = scratch_operators\n")
    monkeypatch.syspath_prepend(str(root))
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{path}" if path else str(root))
    _forget_operators()
    yield folder
    _forget_operators()


def _forget_operators() -> None:
    from dj_assets import operators

    for name in [name for name in sys.modules if name.split(".")[0] == "scratch_operators"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    operators.locations.cache_clear()
    operators.get.cache_clear()
