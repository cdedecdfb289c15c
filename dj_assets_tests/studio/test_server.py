"""The studio over HTTP: it answers its own page, writes the bounds and nothing else, and gives no file away."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from dj_assets.columns import stored_columns
from dj_assets.measure import identify
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import load_recipe
from dj_assets.recipe.rewrite import read_recipe_text
from dj_assets.samples import read_shard
from dj_assets.store.rows import Fact
from dj_assets.store.store import Store
from dj_assets.studio.server import Studio, make_app
from dj_assets.studio.session import Session
from dj_assets_tests.store.nouns import PROVENANCE
from dj_assets_tests.videos import numbered, write_video

RECIPE = """\
# Which clips are long enough.
dataset_path: {folder}/ds.jsonl
export_path: {folder}/out/res.jsonl
process:
  - video_duration_filter:
      min_duration: 0.3   # seconds
"""


@dataclass
class Served:
    """A running studio. ask: (status, headers, body) of one request, nothing added that is not named."""

    folder: Path
    studio: Studio
    port: int

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if content is not None:
            sent.setdefault("content-type", "application/json")
        connection.putrequest(method, path, skip_host="host" in sent)
        for name, value in {**sent, **({"content-length": str(len(content))} if content is not None else {})}.items():
            connection.putheader(name, value)
        connection.endheaders(content)
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()

    def get(self, path: str) -> Any:
        status, _, body = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    @property
    def state(self) -> Any:
        return self.get("/api/recipe")["state"]

    def moved(self, **bounds: float | None) -> Any:
        state = self.state
        state["steps"]["video_duration_filter"]["bounds"].update(bounds)
        return state


def make_store(folder: Path) -> tuple[Plan, Store]:
    """Four samples: clips of 6 and 12 frames, a file outside the dataset's folder, and one that is no video."""
    (folder / "data").mkdir()
    for frames in (6, 12):
        write_video(folder / "data" / f"{frames}.mp4", numbered(num_frames=frames))
    write_video(folder / "secret.mp4", numbered(num_frames=12))
    (folder / "data" / "no_video.mp4").write_bytes(b"nothing that plays")
    names = ["6.mp4", "12.mp4", "../secret.mp4", "no_video.mp4"]
    (folder / "data" / "ds.jsonl").write_text("".join(json.dumps({"videos": [name]}) + "\n" for name in names))
    (folder / "r.yaml").write_text(RECIPE.format(folder=folder / "data"))
    plan = make_plan(load_recipe(folder / "r.yaml"))
    store = Store(folder / "store")
    from dj_assets.cli.dataset import find_dataset

    [shard] = find_dataset(plan.recipe).shards
    samples = identify(
        read_shard(shard, video_keys=plan.video_keys), roots=plan.roots, limits=plan.recipe.settings.limits
    )
    store.write_samples("r", shard.key, samples, PROVENANCE)
    step = plan.steps[0]
    store.append_facts(
        [
            Fact(sample.videos[0].content_hash, step.operator.name, step.measure_id, "video_duration", seconds)
            for sample, seconds in zip(samples, (0.25, 0.5), strict=False)
        ],
        PROVENANCE,
    )
    return plan, store


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    plan, store = make_store(tmp_path)
    studio = Studio(Session(plan, stored_columns(plan, store), store), read_recipe_text(plan.recipe.file))
    config = uvicorn.Config(make_app(studio, hosts=["127.0.0.1", "localhost"]), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield Served(tmp_path, studio, server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    thread.join(10)


def test_the_page_and_its_parts_come_from_here_alone(served: Served) -> None:
    for path, start in {"/": b"<!doctype html>", "/static/studio.js": b"//", "/static/plotly.min.js": b"/**"}.items():
        status, headers, body = served.ask("GET", path)
        assert (status, body[: len(start)]) == (200, start)
        assert "default-src 'none'" in headers["content-security-policy"]
    _, _, page = served.ask("GET", "/")
    assert b"http://" not in page and b"https://" not in page


def test_counts_follow_the_bounds(served: Served) -> None:
    def counted(state: Any) -> list[int]:
        status, _, body = served.ask("POST", "/api/count", {"state": state})
        assert status == 200, body
        found = json.loads(body)
        return [found[name] for name in ("kept", "dropped", "undecided")]

    assert counted(served.state) == [1, 1, 2]
    assert counted(served.moved(min_duration=0.2)) == [2, 0, 2]
    assert counted(served.moved(min_duration=None, max_duration=0.1)) == [0, 2, 2]


def test_saving_writes_the_bound_and_keeps_everything_else(served: Served) -> None:
    recipe = served.folder / "r.yaml"
    before = recipe.read_text()
    status, _, body = served.ask("POST", "/api/save", {"state": served.moved(min_duration=0.2), "is_dry": True})
    assert status == 200 and json.loads(body)["changes"] == ["process.1.video_duration_filter.min_duration: 0.3 → 0.2"]
    assert recipe.read_text() == before
    status, _, body = served.ask("POST", "/api/save", {"state": served.moved(min_duration=0.2), "is_dry": False})
    assert status == 200, body
    assert recipe.read_text() == before.replace("0.3   # seconds", "0.2   # seconds")
    assert served.state["steps"]["video_duration_filter"]["bounds"]["min_duration"] == 0.2
    _, _, body = served.ask("POST", "/api/count", {"state": served.state})
    assert (json.loads(body)["kept"], json.loads(body)["entering"]) == (2, 0)


def test_an_edit_made_meanwhile_is_never_lost_and_a_reload_takes_it(served: Served) -> None:
    recipe, moved = served.folder / "r.yaml", served.moved(min_duration=0.2)
    recipe.write_text(recipe.read_text().replace("long enough", "much too long").replace("0.3", "0.4"))
    for is_dry in (True, False):
        status, _, body = served.ask("POST", "/api/save", {"state": moved, "is_dry": is_dry})
        assert status == 400 and json.loads(body)["try"]
    assert "min_duration: 0.4" in recipe.read_text()
    assert served.state["steps"]["video_duration_filter"]["bounds"]["min_duration"] == 0.4
    status, _, body = served.ask("POST", "/api/save", {"state": moved, "is_dry": False})
    assert status == 200 and json.loads(body)["changes"] == ["process.1.video_duration_filter.min_duration: 0.4 → 0.2"]
    assert "much too long" in recipe.read_text()


def test_bounds_that_no_video_could_pass_are_not_written(served: Served) -> None:
    before = (served.folder / "r.yaml").read_text()
    for is_dry in (True, False):
        impossible = {"state": served.moved(min_duration=3.0, max_duration=2.0), "is_dry": is_dry}
        status, _, body = served.ask("POST", "/api/save", impossible)
        assert status == 400 and "3 is above 2" in json.loads(body)["given"]
    assert (served.folder / "r.yaml").read_text() == before


def test_whole_numbers_are_written_without_a_point(served: Served) -> None:
    served.ask("POST", "/api/save", {"state": served.moved(min_duration=2.0), "is_dry": False})
    assert "min_duration: 2   # seconds" in (served.folder / "r.yaml").read_text()


def test_a_store_that_cannot_be_written_is_said(served: Served) -> None:
    (served.folder / "store" / "labels").write_text("in the way")
    status, headers, body = served.ask("POST", "/api/mark", {"video": 0, "keep": True})
    assert status == 400 and "cannot be written" in json.loads(body)["given"] and "content-security-policy" in headers


def test_videos_play_from_anywhere_in_them(served: Served) -> None:
    whole = (served.folder / "data" / "6.mp4").read_bytes()
    status, headers, body = served.ask("GET", "/media/0")
    assert (status, headers["content-type"], body) == (200, "video/mp4", whole)
    status, headers, body = served.ask("GET", "/media/0", range="bytes=10-19")
    assert (status, body) == (206, whole[10:20]) and headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert served.ask("GET", "/media/0", range="bytes=-5")[2] == whole[-5:]
    assert served.ask("GET", "/media/0", range=f"bytes={len(whole)}-")[0] == 416
    assert served.ask("GET", "/media/0", range="bytes=9-3")[0] == 416
    assert served.ask("GET", "/media/0", range="bytes=-0")[0] == 416


def test_no_other_file_is_given_away(served: Served) -> None:
    status, _, body = served.ask("GET", "/media/2")
    assert status == 403 and "outside the dataset's folders" in json.loads(body)["given"]
    assert served.ask("GET", "/picture/thumbnail/2")[0] == 403
    for path in (
        "/static/../../../r.yaml",
        "/static/..%2f..%2fserver.py",
        "/static/server.py",
        "/media/../r.yaml",
        "/r.yaml",
    ):
        assert served.ask("GET", path)[0] == 404, path
    assert served.ask("GET", "/media/99")[0] == 400
    video = served.folder / "data" / "6.mp4"
    video.unlink()
    video.symlink_to(served.folder / "secret.mp4")
    assert served.ask("GET", "/media/0")[0] == 403


def test_other_pages_and_other_names_are_refused(served: Served) -> None:
    mark = {"video": 0, "keep": True}
    assert served.ask("POST", "/api/mark", mark, origin="http://elsewhere.example")[0] == 403
    assert served.ask("POST", "/api/mark", json.dumps(mark).encode(), content_type="text/plain")[0] == 403
    assert served.ask("GET", "/api/recipe", host="rebound.example")[0] == 400
    assert served.get("/api/recipe")["labels"] == 0
    assert served.ask("POST", "/api/mark", mark, origin=f"http://127.0.0.1:{served.port}")[0] == 200
    assert served.get("/api/recipe")["labels"] == 1


def test_pictures_are_drawn_when_asked_for_and_faults_are_said(served: Served) -> None:
    status, headers, body = served.ask("GET", "/picture/thumbnail/1")
    assert (status, headers["content-type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    status, _, body = served.ask("GET", "/picture/thumbnail/3")
    assert status == 422 and json.loads(body)["given"]
    assert served.ask("GET", "/picture/nothing/1?step=video_duration_filter")[0] == 404
    assert served.ask("GET", "/picture/sheet/1?step=nothing")[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"state": {}}',
        b'{"state": {"steps": {}}}',
        b'{"state": {"steps": {"x": {"bounds": {"a": 1e999}}}}}',
    ],
)
def test_bad_requests_are_answered_in_words(served: Served, body: bytes) -> None:
    status, _, said = served.ask("POST", "/api/count", body)
    assert status == 400 and json.loads(said)["given"]
