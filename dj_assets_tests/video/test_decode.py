"""One pass gives every plan its windows, in order and in bounded memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from dj_assets.errors import Unreadable
from dj_assets.frames import FramePlan, Look, Size, pairs, single
from dj_assets.video.decode import FramesMissing, decode_windows, is_planned, with_rotation
from dj_assets.video.probe import open_video, probe
from dj_assets.video.safe_open import MediaLimits
from dj_assets_tests import videos

RGB = Look("rgb24")


def decode(path: Path, *plans: FramePlan, batch_bytes: int = 2**20, linear: bool = False) -> list[list[np.ndarray]]:
    """Batches of data per plan."""
    batches: list[list[np.ndarray]] = [[] for _ in plans]
    with open_video(str(path), roots=[path.parent], limits=MediaLimits()) as video:
        scan = probe(video)
    with open_video(str(path), roots=[path.parent], limits=MediaLimits()) as video:
        for number, windows in decode_windows(video, scan, plans, batch_bytes=batch_bytes, linear=linear):
            assert len(windows) == len(windows.data) == len(windows.frames) == len(windows.pts_seconds)
            batches[number].append(windows.data)
    return batches


def frame_numbers(data: np.ndarray) -> list[list[int]]:
    """Which frames of a numbered video these windows hold."""
    grey = data.reshape(*data.shape[:2], -1).mean(axis=2)
    return np.rint((grey - 16) / 8).astype(int).tolist()


def test_plans_get_the_frames_they_asked_for(numbered_24: Path) -> None:
    [[ones], [twos]] = decode(numbered_24, single([0, 12, 23], RGB), pairs([0, 1, 1, 5, 20], Look("gray8")))
    assert frame_numbers(ones) == [[0], [12], [23]]
    assert frame_numbers(twos) == [[0, 1], [1, 1], [1, 5], [5, 20]]
    assert ones.shape == (3, 1, 64, 64, 3) and twos.shape == (4, 2, 64, 64)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mov", ".avi"])
def test_containers_do_not_matter(numbered_24: Path, tmp_path: Path, suffix: str) -> None:
    path = videos.remux(numbered_24, tmp_path / f"n{suffix}")
    [[ones]] = decode(path, single([0, 7, 23], RGB))
    assert frame_numbers(ones) == [[0], [7], [23]]


def test_batches_are_cut_by_bytes_and_lose_nothing(numbered_24: Path) -> None:
    [batches] = decode(numbered_24, pairs(range(24), RGB), batch_bytes=3 * 2 * 64 * 64 * 3)
    assert [len(batch) for batch in batches] == [3] * 7 + [2]
    assert frame_numbers(np.concatenate(batches)) == [[k, k + 1] for k in range(23)]


def test_frames_come_read_only(numbered_24: Path) -> None:
    [[ones]] = decode(numbered_24, single([3], RGB))
    with pytest.raises(ValueError, match="read-only"):
        ones[0] = 0


def test_resize_is_height_by_width(numbered_24: Path) -> None:
    [[ones]] = decode(numbered_24, single([3], Look("bgr24", Size(20, 30))))
    assert ones.shape == (1, 1, 20, 30, 3)


@pytest.mark.parametrize(("degrees", "brightest"), [(0, "left"), (90, "bottom"), (180, "right"), (270, "top")])
def test_rotation_turns_as_opencv_does(tmp_path: Path, degrees: int, brightest: str) -> None:
    import cv2

    picture = np.full((64, 96, 3), 40, dtype=np.uint8)
    picture[:, :32] = 220
    path = videos.write_video(tmp_path / "r.mp4", [picture] * 4, rotation_degrees=degrees, lossless=True)
    with open_video(str(path), roots=[tmp_path], limits=MediaLimits()) as video:
        scan = with_rotation(video, probe(video))
        info = scan.info
        look = Look("bgr24", apply_rotation=True)
        [(_, windows)] = list(decode_windows(video, scan, [single([0], look)]))
    ours = windows.data[0, 0]
    _, theirs = cv2.VideoCapture(str(path)).read()
    assert ours.shape == theirs.shape == (*info.displayed_size, 3)
    np.testing.assert_array_equal(ours, theirs)
    edges = {"left": ours[:, 0], "right": ours[:, -1], "top": ours[0], "bottom": ours[-1]}
    assert max(edges, key=lambda side: edges[side].mean()) == brightest


def test_frames_that_never_come_are_an_error_with_their_number(numbered_24: Path) -> None:
    with open_video(str(numbered_24), roots=[numbered_24.parent], limits=MediaLimits()) as video:
        scan = probe(video)
    longer = type(scan)(scan.info, np.append(scan.ticks, scan.ticks[-1] + 512))
    with (
        open_video(str(numbered_24), roots=[numbered_24.parent], limits=MediaLimits()) as video,
        pytest.raises(FramesMissing, match="1 of 2 wanted frames"),
    ):
        list(decode_windows(video, longer, [single([0, 24], RGB)]))


@pytest.mark.parametrize("plan", [single([0, 8, 16], RGB), pairs([0, 8, 16], RGB)], ids=["single", "pairs"])
def test_a_lost_frame_before_later_ones_is_named(numbered_24: Path, tmp_path: Path, plan: FramePlan) -> None:
    """One zeroed packet at a sampled frame was a KeyError, which failed the whole shard as a fault of ours."""
    source = videos.write_video(
        tmp_path / "whole.mp4", videos.numbered(num_frames=24), codec="mpeg4", options={"g": "1"}
    )
    path = videos.blank_packet(source, tmp_path / "lost.mp4", index=8)
    with pytest.raises(FramesMissing, match="frame 8 ") as caught:
        decode(path, plan)
    assert caught.value.allowed and caught.value.try_


def test_a_lost_frame_far_before_the_end_is_named_before_all_is_held(tmp_path: Path) -> None:
    source = videos.write_video(
        tmp_path / "whole.mp4", videos.numbered(num_frames=28) * 2, codec="mpeg4", options={"g": "1"}
    )
    path = videos.blank_packet(source, tmp_path / "lost.mp4", index=8)
    with pytest.raises(FramesMissing, match="frame 8 does not decode"):
        decode(path, single(range(56), RGB))


@pytest.mark.parametrize("plan", [single(range(24), RGB), pairs([0, 1, 7, 14, 23], RGB)], ids=["single", "pairs"])
def test_frames_that_come_out_of_order_are_put_in_order(
    numbered_24: Path, plan: FramePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams that hold back fewer pictures than they should: box.mp4 of OpenCV's samples shows 0, 3, 1, 2, 6, 4 …"""
    from dj_assets.video import decode as room

    real = room._indexed

    def shuffled(*arguments: object) -> list[tuple[int, object]]:
        frames = list(real(*arguments))  # type: ignore[arg-type]
        return sorted(frames, key=lambda found: (found[0] + 2) // 3 * 3 - (found[0] % 3 == 0))

    monkeypatch.setattr(room, "_indexed", shuffled)
    [batches] = decode(numbered_24, plan, linear=True)
    assert frame_numbers(np.concatenate(batches)) == plan.windows.tolist()


def sought(path: Path, plan: FramePlan) -> np.ndarray:
    """All windows as evidence decodes them: by seeking, and from the start where that does not find them."""
    try:
        [batches] = decode(path, plan)
    except FramesMissing:
        [batches] = decode(path, plan, linear=True)
    return np.concatenate(batches)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
@pytest.mark.parametrize("suffix", [".ts", ".mp4"])
def test_seeking_gives_the_pictures_of_sequential_decoding(tmp_path: Path, codec: str, suffix: str) -> None:
    """MPEG-TS seeks land between key frames; MPEG-4 Part 2 then gave broken pictures (130 of 255 grey levels off),
    which a sheet showed."""
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=120, pixels_per_frame=3)
    path = videos.write_video(tmp_path / f"a{suffix}", frames, codec=codec, options={"g": "40", "bf": "2"})
    plan = pairs(range(5, 120, 23), RGB)
    [batches] = decode(path, plan, linear=True)
    np.testing.assert_array_equal(sought(path, plan), np.concatenate(batches))


SAMPLINGS = {
    "every": range(60),
    "some": [0, 7, 14, 21, 28, 35, 42, 49, 56],
    "few": [0, 33, 59],
    "last": [59],
    "near keys": [28, 29, 30, 31],
}


@pytest.mark.parametrize("held", [True, False], ids=["held", "read again"])
@pytest.mark.parametrize("name", sorted(videos.CODECS))
def test_planned_decoding_gives_the_pictures_of_sequential_decoding(
    tmp_path: Path, name: str, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is left out, every wanted picture is that of a decoder which saw all."""
    from dj_assets.video import decode as room

    monkeypatch.setattr(room, "SEEK_PACKETS", 5)
    codec, suffix, options = videos.CODECS[name]
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=60, pixels_per_frame=3)
    path = videos.write_video(tmp_path / f"a{suffix}", frames, codec=codec, options={"g": "20", **options})
    truth = []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        truth = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_video(str(path), roots=[tmp_path], limits=MediaLimits()) as video:
        scan = with_rotation(video, probe(video, hold=held))
        assert (video.held is not None) is held
        for wanted in SAMPLINGS.values():
            for linear in (False, True):
                try:
                    found = list(decode_windows(video, scan, [single(wanted, RGB)], linear=linear, batch_bytes=2**30))
                except FramesMissing:
                    assert not linear and name in ("h264_intra_refresh", "hevc_ts"), "all others can be planned"
                    continue
                [(_, windows)] = found
                for index, picture in zip(wanted, windows.data[:, 0], strict=True):
                    np.testing.assert_array_equal(picture, truth[index])


def test_pictures_that_an_edit_list_hides_are_decoded_where_others_need_them(tmp_path: Path) -> None:
    """A clip that was cut without encoding begins before its first shown picture."""
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=60, pixels_per_frame=3)
    source = videos.write_video(tmp_path / "whole.mp4", frames, options={"g": "20", "bf": "2"})
    path = tmp_path / "cut.mp4"
    with av.open(str(source)) as reader:
        stream = reader.streams.video[0]
        hidden = int(7 / 24 / stream.time_base)
        with av.open(str(path), "w", options={"avoid_negative_ts": "disabled", "use_editlist": "1"}) as writer:
            target = writer.add_stream_from_template(stream)
            for packet in reader.demux(stream):
                if packet.dts is not None:
                    packet.pts, packet.dts, packet.stream = packet.pts - hidden, packet.dts - hidden, target
                    writer.mux(packet)
    with av.open(str(path)) as container:
        truth = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_video(str(path), roots=[tmp_path], limits=MediaLimits()) as video:
        scan = probe(video, hold=True)
        assert (scan.info.num_frames_from_scan, int((scan.packets.frames < 0).sum())) == (53, 7)
        for wanted in ([0], [0, 20, 52], [52], [5, 12, 13]):
            [(_, windows)] = decode_windows(video, scan, [single(wanted, RGB)])
            for index, picture in zip(wanted, windows.data[:, 0], strict=True):
                np.testing.assert_array_equal(picture, truth[index])


def test_what_is_not_needed_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dj_assets.video import decode as room

    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=60, pixels_per_frame=3)
    path = videos.write_video(tmp_path / "a.mp4", frames, options={"g": "20", "bf": "2", "sc_threshold": "0"})
    sent = []
    real = room.decoded
    monkeypatch.setattr(room, "decoded", lambda video, packet: [sent.append(packet), real(video, packet)][1])
    with open_video(str(path), roots=[tmp_path], limits=MediaLimits()) as video:
        scan = probe(video, hold=True)
        list(decode_windows(video, scan, [single([0, 10, 59], RGB)]))
    packets = [packet for packet in sent if packet is not None]
    assert len(packets) <= 2 + 10 + 20, "one of the first, up to the eleventh, and the last group"
    assert len(packets) < 25, "B-frames that nobody wants are left out"


def test_a_stream_whose_packets_all_claim_to_be_keys_is_decoded_from_the_start(tmp_path: Path) -> None:
    """Bad muxers mark every packet; H.264's decoder then gives nothing, and HEVC's makes pictures up."""
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=40, pixels_per_frame=3)
    for codec in ("libx264", "libx265"):
        path = videos.write_video(tmp_path / f"{codec}.mp4", frames, codec=codec, options={"g": "40"})
        plan = single([0, 17, 33], RGB)
        with open_video(str(path), roots=[tmp_path], limits=MediaLimits()) as video:
            scan = probe(video, hold=True)
            all_keys = replace(scan.packets, keys=np.ones(len(scan.packets), dtype=bool))
            liar = replace(scan, packets=all_keys)
            with pytest.raises(FramesMissing):
                list(decode_windows(video, liar, [plan]))
            [(_, honest)] = decode_windows(video, scan, [plan], linear=True)
            [(_, planned)] = decode_windows(video, scan, [plan])
        np.testing.assert_array_equal(honest.data, planned.data)


def test_a_change_of_picture_size_is_an_error_with_both_sizes(tmp_path: Path) -> None:
    small = videos.write_video(tmp_path / "a.ts", [videos.texture(height=64, width=64)] * 5)
    large = videos.write_video(tmp_path / "b.ts", [videos.texture(height=96, width=96)] * 5, pts=range(5, 10))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with open_video(str(both), roots=[tmp_path], limits=MediaLimits()) as video:
        scan = probe(video)
    count = scan.info.num_frames_from_scan
    with pytest.raises(Unreadable, match=r"size changes|do not decode"):
        decode(both, pairs(range(count), Look("gray8")))


def test_the_same_pictures_as_opencv(moving_2px: Path) -> None:
    import cv2

    capture = cv2.VideoCapture(str(moving_2px))
    theirs = np.stack([capture.read()[1] for _ in range(24)])
    [[ours]] = decode(moving_2px, single(range(24), Look("bgr24")), batch_bytes=2**30)
    np.testing.assert_array_equal(ours[:, 0], theirs)


def test_parameter_sets_that_come_once_on_the_way_are_not_left_out(tmp_path: Path) -> None:
    # Two encodings in a row, the second one's sets before its first key packet alone: from its next key packet on, the
    # first one's would give other colours without an error.
    def part(name: str, params: str) -> tuple[bytes, list[tuple[bytes, int, int, bool]]]:
        picture = videos.texture(height=64, width=64)
        picture[..., 0] = picture[::-1, :, 1]
        frames = videos.shifting(picture, num_frames=60, pixels_per_frame=2)
        options = {"qp": "24", "g": "20", "x264-params": f"scenecut=0:{params}"}
        with av.open(str(videos.write_video(tmp_path / name, frames, options=options))) as source:
            stream = source.streams.video[0]
            packets = [packet for packet in source.demux(stream) if packet.size]
            extradata = stream.codec_context.extradata or b""
        return extradata, [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in packets]

    _, first = part("first.mp4", "chroma-qp-offset=0")
    extradata, second = part("second.mp4", "chroma-qp-offset=-12")
    sps_bytes = int.from_bytes(extradata[6:8], "big")
    sets = [extradata[8 : 8 + sps_bytes], extradata[8 + sps_bytes + 3 :]]
    sets[1] = sets[1][: int.from_bytes(extradata[8 + sps_bytes + 1 : 8 + sps_bytes + 3], "big")]
    in_band = b"".join(len(unit).to_bytes(4, "big") + unit for unit in sets)
    later = 60 * (first[1][2] - first[0][2])
    second = [
        (in_band * (not number) + data, pts + later, dts + later, is_key)
        for number, (data, pts, dts, is_key) in enumerate(second)
    ]
    path = tmp_path / "both.mkv"
    with av.open(str(tmp_path / "first.mp4")) as source, av.open(str(path), "w") as container:
        template = source.streams.video[0]
        stream = container.add_stream_from_template(template)
        for data, pts, dts, is_key in first + second:
            packet = av.Packet(data)
            packet.pts, packet.dts, packet.is_keyframe, packet.time_base = pts, dts, is_key, template.time_base
            packet.stream = stream
            container.mux(packet)
    plan = single(np.array([85, 110]), Look("bgr24"))
    np.testing.assert_array_equal(decode(path, plan)[0], decode(path, plan, linear=True)[0])


@pytest.mark.parametrize("name", ["h264", "h264_pyramid_ts", "hevc", "hevc_ts"])
def test_parameter_sets_that_are_repeated_are_no_change(tmp_path: Path, name: str) -> None:
    codec, suffix, options = videos.CODECS[name]
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=30, pixels_per_frame=3)
    path = videos.write_video(tmp_path / f"a{suffix}", frames, codec=codec, options={"g": "10", **options})
    with open_video(str(path), roots=[tmp_path], limits=MediaLimits()) as video:
        assert is_planned(video, probe(video))


def test_of_interlaced_video_no_packet_is_left_out(tmp_path: Path) -> None:
    """A frame may be of two packets there, one for each field: without the second every other line would be made up."""
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=48, pixels_per_frame=3)
    options = {"g": "24", "bf": "2", "x264-params": "interlaced=1:tff=1"}
    path = videos.write_video(tmp_path / "fields.ts", frames, options=options)
    with open_video(str(path), roots=[tmp_path], limits=MediaLimits()) as video:
        scan = probe(video, hold=True)
        assert is_planned(video, scan), "its packets do not tell"
        assert not is_planned(video, with_rotation(video, scan))
