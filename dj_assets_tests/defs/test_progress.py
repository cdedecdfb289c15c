"""Progress of a pass in words, in the log and to listeners."""

from __future__ import annotations

import pytest

from dj_assets.defs.progress import ProgressLog, listening, progress_text, seconds_text
from dj_assets.measure import Progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0.4, "0 s", id="less than a second"),
        pytest.param(59.4, "59 s", id="seconds"),
        pytest.param(59.6, "1 min 0 s", id="rounds up to a minute"),
        pytest.param(556, "9 min 16 s", id="minutes"),
        pytest.param(12_000, "3 h 20 min", id="hours"),
    ],
)
def test_seconds_text(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("done", "undecided", "seconds", "text"),
    [
        pytest.param(
            120, 3, 60.0, "cpu: 120 of 1000 videos, 120 per minute, 7 min 20 s left, 3 undecided", id="under way"
        ),
        pytest.param(0, 0, 0.0, "cpu: 0 of 1000 videos, 0 undecided", id="no rate before the first video"),
    ],
)
def test_progress_text(done: int, undecided: int, seconds: float, text: str) -> None:
    assert progress_text(Progress("cpu", done, 1000, undecided, seconds, 0)) == text


class Log:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)


def test_a_listener_hears_everything_and_the_log_only_now_and_then() -> None:
    heard: list[int] = []
    log = Log()
    with listening(lambda progress: heard.append(progress.done)):
        progress_log = ProgressLog(log, every_seconds=3600)
    for done in range(4):
        progress_log(Progress("cpu", done, 3, 0, 1.0, 0))
    assert heard == [0, 1, 2, 3]
    assert log.lines == []
    assert progress_log.num_videos == 3


def test_the_log_is_written_when_the_time_has_come() -> None:
    log = Log()
    progress_log = ProgressLog(log, every_seconds=0)
    progress_log(Progress("gpu", 1, 2, 0, 1.0, 0))
    assert log.lines == ["gpu: 1 of 2 videos, 60 per minute, 1 s left, 0 undecided"]


def test_nobody_listens_after_the_end() -> None:
    heard: list[int] = []
    with listening(lambda progress: heard.append(progress.done)):
        pass
    ProgressLog(Log())(Progress("cpu", 1, 1, 0, 1.0, 0))
    assert heard == []
