"""A project per module of upstream's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from dj_assets_tests.upstream.project import Project


@pytest.fixture(scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upstream")
    (folder / "clips").mkdir()
    return folder


@pytest.fixture
def project(_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project without clips, whose store is that of the whole module; the working directory is its folder."""
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    # Beside the clips, where products go by default, may be a folder of the tutorial's that is not ours to write to.
    monkeypatch.setenv("DJ_PRODUCED_DATA_DIR", str(_folder / "produced"))
    monkeypatch.chdir(_folder)
    return Project(_folder)
