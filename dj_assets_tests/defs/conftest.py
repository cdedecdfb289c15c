"""Fixtures for tests of the asset graph; none of them opens a video."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from dj_assets import measure
from dj_assets_tests.defs.small_project import FakeMeasure


@pytest.fixture
def fake_measure(monkeypatch: pytest.MonkeyPatch) -> FakeMeasure:
    fake = FakeMeasure()
    monkeypatch.setattr(measure, "identify", fake.identify)
    monkeypatch.setattr(measure, "measure_pass", fake.measure_pass)
    return fake


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measure's id may hold the device; tests say the same everywhere."""
    monkeypatch.setenv("DJ_ASSETS_DEVICE", "cpu")
