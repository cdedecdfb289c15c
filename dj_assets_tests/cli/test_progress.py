"""Progress where nobody watches: few lines, but the end of the first passes always."""

from __future__ import annotations

from dj_assets.cli.progress import PlainProgress
from dj_assets.measure import Progress


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def progress(done: int, total: int, *, name: str = "cpu", seconds: float = 1.0, undecided: int = 0) -> Progress:
    return Progress(name, done, total, undecided, seconds, 0)


def test_a_line_every_five_seconds_with_rate_time_left_and_undecided() -> None:
    said: list[str] = []
    clock = Clock()
    view = PlainProgress(said.append, num_shards=1, clock=clock)
    view.begin_shard("a-00000")
    for second in range(1, 11):
        clock.seconds = float(second)
        view(progress(second, 100, seconds=float(second), undecided=second // 5))
    assert said == [
        "cpu: 5 of 100 videos, 60 per minute, 1 min 35 s left, 1 undecided",
        "cpu: 10 of 100 videos, 60 per minute, 1 min 30 s left, 2 undecided",
    ]


def test_the_first_end_of_each_pass_is_told_and_later_ones_wait_their_turn() -> None:
    said: list[str] = []
    view = PlainProgress(said.append, num_shards=2, clock=Clock())
    for shard in ("a-00000", "a-00001"):
        view.begin_shard(shard)
        view(progress(0, 2, name="header"))
        view(progress(2, 2, name="header"))
        view(progress(3, 3, name="cpu"))
    assert [line.split(" videos")[0] for line in said] == ["shard 1 of 2, header: 2 of 2", "shard 1 of 2, cpu: 3 of 3"]


def test_a_pass_without_work_is_not_worth_a_line() -> None:
    said: list[str] = []
    PlainProgress(said.append, num_shards=1, clock=Clock())(progress(0, 0))
    assert said == []
