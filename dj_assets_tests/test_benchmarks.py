"""What benchmarks conclude from: which clips there are, what a log says, what two sets of numbers differ in."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import corpus, fused, tables, whole
from benchmarks.sixty import Measured, operator_tables

LOG = """\
2026-01-01 INFO | [1/2] OP [video_motion_score_filter] Done in 155.264s. Left 3 samples.
2026-01-01 INFO | [2/2] OP [OpFusion:(video_duration_filter,video_resolution_filter)] Done in 1.5s. Left 2 samples.
"""


def test_the_corpus_has_every_size_with_every_codec_and_both_intervals_evenly() -> None:
    listed = corpus.listed([])
    assert len({clip.name for clip in listed}) == 60
    assert Counter((clip.size, clip.variant) for clip in listed) == Counter(
        3 * list(itertools.product(corpus.SIZES, corpus.VARIANTS))
    )
    assert Counter(clip.keyint for clip in listed) == {30: 30, 250: 30}
    assert all(8 <= clip.seconds <= 10 for clip in listed)


def test_a_clip_of_the_corpus_is_what_its_entry_says(tmp_path: Path) -> None:
    import av

    entry = corpus.Clip(0, "360p", "h264-b", 30, 24, 2.0, "moving text", speed=2)
    path = tmp_path / entry.name
    corpus.encode(entry, corpus.frames(entry, None), path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert (stream.height, stream.width, float(stream.average_rate)) == (360, 640, 24)
        assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == [0, 30]
        assert len(packets) == 48
        assert stream.codec_context.has_b_frames


def test_steps_of_the_peer_are_read_off_its_log() -> None:
    assert fused.their_steps(LOG, 6) == {
        "video_motion_score_filter": (6, 155.264),
        "OpFusion:(video_duration_filter,video_resolution_filter)": (3, 1.5),
    }


def test_agreement_counts_what_both_have() -> None:
    agreeing, compared, most = tables.agreement({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0 + 5e-7, "b": 2.1})
    assert (agreeing, compared) == (1, 2)
    assert most == pytest.approx(0.1 / 2.1)


def test_a_sample_that_one_side_alone_keeps_is_named() -> None:
    ours, theirs = whole.Kept(frozenset({"a", "b"}), {}), whole.Kept(frozenset({"b"}), {})
    assert list(whole.difference("run", ours, theirs)) == [
        "run: kept by dj_assets alone ['a'], by py-data-juicer alone []."
    ]


def test_clips_that_the_peer_cannot_read_are_counted_apart() -> None:
    from benchmarks.contest import Answer

    def measured(variant: str, peer_score: float) -> Measured:
        clip = next(clip for clip in corpus.listed([]) if clip.variant == variant)
        spent = {"peer": 8.0, "ours": 2.0, "floor": 2.0, "peer decode": 4.0, "our decode": 1.0, "bare decode": 1.0}
        answers = {what: [Answer(None, seconds, seconds, 100.0)] for what, seconds in spent.items()}
        return Measured(
            corpus.Made(clip, Path(clip.name)), answers, 1.0, peer_score, pixels_as_sequential=True, pixels_as_peer=True
        )

    text = "\n".join(operator_tables([measured("h264", 1.0), measured("av1", -1.0)], with_peer=True))
    assert "| all | 1 | 8.00 | 2.00 | 2.00 | 4.00 | 4.00 | +0.0 % | +0.0 % |" in text
    assert "| all, also those that the peer cannot read | 2 |" in text
    assert "py-data-juicer reads 1 of 2" in text
