"""A store for the commands that ask one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dj_assets.store.store import Store
from dj_assets_tests.cli.project_store import write_store


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The project's store, with one of everything; the working directory is the project's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DJ_ASSETS_STORE", str(tmp_path / "store"))
    return write_store(tmp_path / "store")
