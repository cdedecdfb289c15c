"""Whether a packet is needed by others, as its bits say."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dj_assets.video.bitstream import begins_decoding, disposable_test
from dj_assets_tests import videos


def packets(path: Path) -> tuple[str, bytes, list[av.Packet]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        return context.name, context.extradata or b"", [p for p in container.demux(stream) if p.size]


def clip(folder: Path, name: str, *, num_frames: int = 60) -> Path:
    codec, suffix, options = videos.CODECS[name]
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=num_frames, pixels_per_frame=3)
    return videos.write_video(folder / f"{name}{suffix}", frames, codec=codec, options={"g": "30", **options})


@pytest.mark.parametrize("name", ["h264", "h264_pyramid_ts", "hevc", "hevc_ts", "av1", "av1_mp4"])
def test_without_all_disposable_packets_the_others_decode_to_the_same_pictures(tmp_path: Path, name: str) -> None:
    path = clip(tmp_path, name)
    codec, extradata, every = packets(path)
    test = disposable_test(codec, extradata)
    assert test is not None
    kept = {packet.pts for packet in every if not test(bytes(packet))}
    assert 10 <= len(kept) < len(every), "some are disposable, the rest is not"

    def decoded(only: set[int] | None) -> dict[int, np.ndarray]:
        found = {}
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_type = "NONE"
            for packet in container.demux(stream):
                if only is None or not packet.size or packet.pts in only:
                    for frame in packet.decode():
                        found[frame.pts] = frame.to_ndarray(format="rgb24")
        return found

    full, few = decoded(None), decoded(kept)
    assert set(few) == kept
    for pts, picture in few.items():
        np.testing.assert_array_equal(picture, full[pts])


def test_without_b_frames_nothing_is_disposable(tmp_path: Path) -> None:
    codec, extradata, every = packets(clip(tmp_path, "h264_no_b"))
    test = disposable_test(codec, extradata)
    assert test is not None and not any(test(bytes(packet)) for packet in every)


@pytest.mark.parametrize("codec", ["vp9", "vp8", "mpeg4"])
def test_codecs_that_do_not_tell_have_no_test(codec: str) -> None:
    assert disposable_test(codec, b"") is None


@pytest.mark.parametrize(
    ("packet", "is_disposable"),
    [
        ("00000003 019aff", True),  # a slice of nal_ref_idc 0
        ("00000003 419aff", False),  # referred to
        ("00000003 659aff", False),  # IDR
        ("00000002 0610 00000003 019aff", True),  # SEI before it
        ("00000002 6710 00000003 019aff", False),  # a parameter set travels along
        ("00000003 019aff 00000003 419aff", False),  # two fields, one is referred to
        ("00000002 0610", False),  # no picture
        ("00000009 019aff", False),  # longer than it is
        ("", False),
        ("00", False),
    ],
)
def test_h264_packets(packet: str, is_disposable: bool) -> None:
    avcc = bytes.fromhex("0164000affe1")
    test = disposable_test("h264", avcc + bytes(8))
    assert test is not None
    # The length size lies in the low bits of the fifth byte, here 3 + 1.
    assert test(bytes.fromhex(packet.replace(" ", ""))) is is_disposable


def test_h264_of_start_codes() -> None:
    test = disposable_test("h264", b"")
    assert test is not None
    assert test(bytes.fromhex("00000001 09f0 00000001 019aff".replace(" ", "")))
    assert not test(bytes.fromhex("00000001 09f0 00000001 219aff".replace(" ", "")))
    assert not test(b"no NAL unit at all")


def test_hevc_of_unknown_sublayers_is_never_disposable() -> None:
    test = disposable_test("hevc", b"")
    assert test is not None
    trailing = bytes.fromhex("00000001 0001 aa".replace(" ", ""))  # TRAIL_N of sub-layer 0
    assert not test(trailing), "no parameter set has told how many sub-layers there are"
    test(bytes.fromhex("00000001 4201 01 60".replace(" ", "")))  # a sequence parameter set of one sub-layer
    assert test(trailing)


def test_only_random_access_pictures_begin_hevc(tmp_path: Path) -> None:
    codec, extradata, every = packets(clip(tmp_path, "hevc"))
    begins = [index for index, packet in enumerate(every) if begins_decoding(codec, extradata, bytes(packet))]
    assert begins == [index for index, packet in enumerate(every) if packet.is_keyframe]
    assert len(begins) >= 2


def test_av1_that_cannot_be_read_is_never_disposable(tmp_path: Path) -> None:
    """Every packet cut short at every place, and each of its first bits turned over: an answer, never an error."""
    codec, extradata, every = packets(clip(tmp_path, "av1"))
    data = [bytes(packet) for packet in every[:12]]
    test = disposable_test(codec, extradata)
    assert test is not None and any(map(test, data))
    for one in data:
        for size in range(min(len(one), 24)):
            assert not test(one[:size])
            test(bytes((*one[:size], one[size] ^ 0x40, *one[size + 1 :])))
    unknown = disposable_test(codec, b"")
    assert unknown is not None and not any(unknown(one) for one in data[1:]), "no sequence header was seen"


def test_an_av1_sequence_with_a_decoder_model_is_left_alone() -> None:
    test = disposable_test("libdav1d", b"")
    assert test is not None
    # profile 0, not still, not reduced, timing: 64 bits, not equal intervals, a decoder model follows
    bits = "000" + "0" + "0" + "1" + "0" * 64 + "0" + "1"
    body = int(bits.ljust(80, "1"), 2).to_bytes(10, "big")
    assert not test(bytes((0x0A, len(body))) + body)
    assert test.sequence is None  # type: ignore[attr-defined]
