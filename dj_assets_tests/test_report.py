"""Pages escape what they are given, and hold whatever text a file may be named."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from dj_assets import report


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.html").write_text("{% extends 'base.html' %}{% block content %}{{ name }}{% endblock %}")
    environment = report._environment()
    loaders = jinja2.ChoiceLoader([environment.loader, jinja2.FileSystemLoader(tmp_path)])  # type: ignore[list-item]
    monkeypatch.setattr(environment, "loader", loaders)


@pytest.mark.usefixtures("template")
def test_text_is_escaped_and_always_encodable() -> None:
    page = report.render("p.html", name='<script>alert("x")</script>\udc80.mp4')
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "\\udc80.mp4" in page
    page.encode()


@pytest.mark.usefixtures("template")
def test_a_page_asks_nobody_for_anything_and_a_forgotten_value_is_an_error() -> None:
    assert "http" not in report.render("p.html", name="")
    with pytest.raises(jinja2.UndefinedError):
        report.render("p.html")


def test_pictures_are_in_the_page() -> None:
    assert report.picture_uri(b"\x00\x01", "image/png") == "data:image/png;base64,AAE="
