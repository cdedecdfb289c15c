"""A dataset of thirty lines, most of them hostile or broken, through the command line: every line comes out once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dj_assets_tests import videos

RECIPE = """\
dataset_path: data/ds.jsonl
export_path: out/res.jsonl
keep_stats_in_res_ds: true
np: 2
process:
  - video_duration_filter:
      min_duration: 0.1
  - video_motion_score_filter:
      min_score: 0.5
      any_or_all: any
dj_assets:
  limits: {timeout_seconds: 60, memory_mb: 900}
"""

VICTIM = "victim.mp4"


@dataclass
class Watch:
    """Looks at the worker processes below this one: kills the one that decodes the victim, notes peak memory."""

    folder: Path
    killed: int = 0
    peak_mb: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    self._look(process)
                except OSError:
                    continue  # it ended meanwhile
            time.sleep(0.01)

    def _look(self, process: Path) -> None:
        if b"multiprocessing" not in (process / "cmdline").read_bytes():
            return
        if (process / "cwd").resolve() != self.folder:
            return
        for line in (process / "status").read_text().splitlines():
            if line.startswith("VmHWM"):
                self.peak_mb = max(self.peak_mb, int(line.split()[1]) / 1024)
        opened = {str(descriptor.readlink()) for descriptor in (process / "fd").iterdir()}
        if str(self.folder / "data" / VICTIM) in opened:
            os.kill(int(process.name), signal.SIGKILL)
            self.killed += 1


@pytest.fixture
def web_server() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback, and the requests that it got."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()


def hostile_lines(data: Path, address: str) -> list[tuple[str, str]]:
    """(manifest line, expected outcome) of thirty samples; makes their files."""
    texture = videos.texture(height=96, width=128)
    moving = videos.shifting(texture, num_frames=24, pixels_per_frame=3)
    videos.write_video(data / "good.mp4", moving)
    videos.write_video(data / "still.mp4", [texture] * 24, lossless=True)
    long = videos.shifting(videos.texture(height=360, width=640), num_frames=240, pixels_per_frame=2)
    videos.write_video(data / VICTIM, long)
    videos.cut_short(data / "good.mp4", data / "truncated.mp4")
    videos.remux(data / "good.mp4", data / "faststart.mp4", options={"movflags": "+faststart"})
    videos.cut_short(data / "faststart.mp4", data / "faststart_cut.mp4", share=0.6)
    videos.write_audio(data / "sound.m4a")
    videos.decompression_bomb(data / "bomb.mp4")
    videos.write_video(data / "one_frame.mp4", videos.numbered(num_frames=1), fps=5)
    for index, suffix in enumerate(("mkv", "ts", "mov", "avi")):
        codec = "mpeg4" if suffix == "avi" else "libx264"
        other = videos.texture(height=96, width=128, seed=index + 2)
        shifted = videos.shifting(other, num_frames=24, pixels_per_frame=3)
        videos.write_video(data / f"good.{suffix}", shifted, codec=codec)
    videos.write_video(data / "good.webm", moving, codec="libvpx-vp9")
    (data / "empty.mp4").touch()
    (data / "prose.mp4").write_text("once upon a time\n" * 50)
    (data / "concat.mp4").write_text("ffconcat version 1.0\nfile good.mp4\n")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}/a.ts\n#EXT-X-ENDLIST\n"
    (data / "playlist.mp4").write_text(playlist)
    (data.parent / "outside.mp4").write_bytes((data / "good.mp4").read_bytes())
    (data / "link.mp4").symlink_to(data.parent / "outside.mp4")
    (data / "folder.mp4").mkdir()
    os.mkfifo(data / "pipe.mp4")

    def line(*paths: str) -> str:
        return json.dumps({"text": "<__dj__video>", "videos": list(paths), "id": paths[0] if paths else None})

    return [
        (line("good.mp4"), "kept"),
        (line("good.mkv"), "kept"),
        (line("good.ts"), "kept"),
        (line("good.mov"), "kept"),
        (line("good.avi"), "kept"),
        (line("good.webm"), "kept"),
        (line("good.mp4", "good.mp4"), "kept"),
        (line("good.mp4", "truncated.mp4"), "kept"),
        (line(), "kept"),
        (json.dumps({"text": "no videos at all"}), "kept"),
        (line("still.mp4"), "dropped"),
        (line("still.mp4", "empty.mp4"), "unreadable"),
        (line("truncated.mp4"), "unreadable"),
        (line("faststart_cut.mp4"), "unreadable"),
        (line("empty.mp4"), "unreadable"),
        (line("prose.mp4"), "unreadable"),
        (line("sound.m4a"), "no_video_stream"),
        (line("missing.mp4"), "missing"),
        (line(f"{address}/x.mp4"), "refused"),
        (line("/etc/passwd"), "refused"),
        (line("../outside.mp4"), "refused"),
        (line("link.mp4"), "refused"),
        (line("concat.mp4"), "refused"),
        (line("playlist.mp4"), "refused|unreadable"),
        (line("folder.mp4"), "refused"),
        (line("pipe.mp4"), "refused"),
        (line("bomb.mp4"), "too_large"),
        (line(VICTIM), "crashed"),
        (line("one_frame.mp4"), "too_short"),
        ('{"text": "a line that breaks off, "videos": [', "malformed"),
    ]


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker that decodes a file through /proc")
def test_thirty_lines(tmp_path: Path, web_server: tuple[str, list[str]]) -> None:
    address, requests = web_server
    folder = tmp_path.resolve()
    data = folder / "data"
    data.mkdir()
    lines = hostile_lines(data, address)
    assert len(lines) == 30
    (data / "ds.jsonl").write_text("".join(line + "\n" for line, _ in lines))
    (folder / "recipe.yaml").write_text(RECIPE)
    watch = Watch(folder)
    threading.Thread(target=watch.run, daemon=True).start()

    command = [sys.executable, "-c", "from dj_assets.cli import main; main()", "process", "--config", "recipe.yaml"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DAGSTER", "DJ_ASSETS"))}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=300)
    watch.stop.set()
    shown = done.stdout + done.stderr
    assert done.returncode == 3, shown
    assert watch.killed >= 1 and requests == [], "the victim's worker was killed; nothing was fetched"
    assert 20 < watch.peak_mb < 1000, f"peak memory of a worker: {watch.peak_mb:.0f} MB"

    kept = read_lines(folder / "out" / "res.jsonl")
    left = read_lines(folder / "out" / "res_dropped.jsonl")
    assert len(kept) + len(left) == 30
    verdicts = {record["__dj__verdict__"]["sample_id"]: record["__dj__verdict__"] for record in left}
    assert len(verdicts) == len(left), "every line once"
    for number, (line, expected) in enumerate(lines, start=1):
        verdict = verdicts.get(f"ds.jsonl:{number}")
        if expected == "kept":
            assert verdict is None, (line, verdict)
        elif expected == "dropped":
            assert (verdict["outcome"], verdict["step"]) == ("dropped", "video_motion_score_filter"), verdict
            assert verdict["values"][0] < 0.5 and "0.5" in verdict["bound"]
        else:
            assert verdict["outcome"] == "undecided" and verdict["status"] in expected.split("|"), (line, verdict)
            assert verdict["reason"], line
    good = [record for record in kept if record.get("videos")]
    motion = [record["__dj__stats__"]["video_motion_score"] for record in good]
    assert all(values[0] > 1 for values in motion), motion
    assert any(values[1:] == [None] for values in motion), "the truncated one beside a good one is null, not a number"
    undecided = Counter(verdict["status"] for verdict in verdicts.values() if verdict["outcome"] == "undecided")
    for status, count in undecided.items():
        assert status in shown and str(count) in shown
