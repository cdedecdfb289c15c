"""The bench of a mapper: one opened video, and the tools to make others of it. Runs in worker processes.

Products are named after what they are made from, so that the same product has the same name and is never made twice:

    <stem>__dj_<parent's content, mapper and params>_<frames>.mp4
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dj_assets.errors import StoreError
from dj_assets.frames import FramePlan, Size, VideoInfo, Windows
from dj_assets.operators._mapper import Mapper, Product, Rgb, Span
from dj_assets.store.files import put_in_place, temporary_beside, write_atomically

if TYPE_CHECKING:
    from dj_assets.video.probe import OpenVideo, Scan

MOST_STEM_BYTES = 120
"""Of a parent's name in its products': file systems take 255 bytes, and the temporary name beside needs some."""

JPEG_QUALITY = 95
"""Of frames that are kept as pictures: losses below what a model or a person sees."""

_MADE = re.compile(r"__dj_[0-9a-f]{16}(_\d+-\d+)?$")


class VideoBench:
    """What `operators._mapper.Bench` promises, over one opened video.

    content_hash: of the video. maker: the mapper's name and measure id. folder: of the products, made where it is not
    there. stem: of the video's name. text: the sample's. linear: decode every packet in order. sound: paths of files
    that are as they were made; any other is written anew, whatever lies there.
    """

    def __init__(
        self,
        video: OpenVideo,
        scan: Scan,
        *,
        content_hash: str,
        maker: str,
        folder: Path,
        stem: str,
        text: str,
        linear: bool = False,
        sound: Collection[str] = (),
    ) -> None:
        self.info: VideoInfo = scan.info
        self.text = text
        self._video = video
        self._scan = scan
        self._folder = folder
        self._linear = linear
        self._sound = sound
        self._name = product_name(stem, content_hash, maker)

    def windows(self, plan: FramePlan) -> Iterator[Windows]:
        """Batches of pictures, as an operator's `score` gets them. Raises `MediaError`."""
        from dj_assets.video.decode import decode_windows

        for _, windows in decode_windows(self._video, self._scan, [plan], linear=self._linear):
            yield windows

    def parent(self) -> Product:
        """The video itself."""
        return Product(self._video.path, 0.0, self.info.duration_seconds, is_parent=True)

    def clips(self, spans: Sequence[Span]) -> list[Product]:
        """A video of each span, in that order, cut to the frame, in one decode. Sound ones stay as they are.

        spans: by rising first frame, none empty; they may overlap. Raises `MediaError`, `StoreError`.
        """
        from dj_assets.video.write import Cut, suffix_for, write_cuts

        _check_spans(spans, self.info.num_frames_from_scan)
        suffix = suffix_for(self._video)
        paths = [self._folder / f"{self._name}_{span.first}-{span.stop}{suffix}" for span in spans]
        with _Placing(self._folder) as placing:
            cuts = [
                Cut(span.first, span.stop, placing.beside(path))
                for span, path in zip(spans, paths, strict=True)
                if str(path) not in self._sound
            ]
            if cuts:
                write_cuts(self._video, self._scan, cuts, linear=self._linear)
        return [self._clip(span, path) for span, path in zip(spans, paths, strict=True)]

    def _clip(self, span: Span, path: Path) -> Product:
        times = self.info.pts_seconds
        is_last = span.stop == self.info.num_frames_from_scan
        end = self.info.duration_seconds if is_last else float(times[span.stop])
        return Product(str(path), float(times[span.first]), end)

    def filtered(self, chain: Sequence[tuple[str, Mapping[str, str]]], *, upright: bool = False) -> Product:
        """The whole video through FFmpeg's filters. Raises `MediaError`, `StoreError`."""
        from dj_assets.video.write import write_filtered

        return self._whole(
            lambda path: write_filtered(self._video, self._scan, path, chain, upright=upright, linear=self._linear)
        )

    def redrawn(self, change: Callable[[Rgb, int], Rgb], *, size: Size | None = None) -> Product:
        """The whole video, each picture changed. Raises `MediaError`, `StoreError`."""
        from dj_assets.video.write import write_redrawn

        return self._whole(
            lambda path: write_redrawn(self._video, self._scan, path, change, size=size, linear=self._linear)
        )

    def picture(self, rgb: Rgb, name: str, *, at_seconds: float) -> Product:
        """A JPEG file, `<stem>__dj_…/<name>.jpg`. Raises `StoreError`."""
        import cv2

        path = self._folder / self._name / f"{name}.jpg"
        if str(path) not in self._sound:
            _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            # As in `_Placing`: what another run made keeps its time.
            if path.is_symlink() or not path.is_file() or path.read_bytes() != data.tobytes():
                write_atomically(path, lambda temporary: data.tofile(temporary))
        return Product(str(path), at_seconds, at_seconds)

    def _whole(self, write: Callable[[Path], None]) -> Product:
        from dj_assets.video.write import suffix_for

        path = self._folder / f"{self._name}{suffix_for(self._video)}"
        with _Placing(self._folder) as placing:
            if str(path) not in self._sound:
                write(placing.beside(path))
        return Product(str(path), 0.0, self.info.duration_seconds)


def products_of(
    mapper: Mapper,
    params: Any,
    model: Any,
    *,
    opened: Callable[[], AbstractContextManager[OpenVideo]],
    content_hash: str,
    maker: str,
    folder: Path,
    stem: str,
    text: str = "",
    sound: Collection[str] = (),
) -> list[Product]:
    """Open a video, find out what it is, and have a mapper make its products.

    Where the frames that the packets promise do not come out, all packets are decoded in order. Where that does not
    help and FFmpeg has no complaint, some packets show nothing, and frames are counted by decoding.

    opened: opens the video, several times if need be. Raises `MediaError`.
    """
    from dj_assets.video.decode import FramesMissing, is_planned, with_rotation
    from dj_assets.video.probe import probe, rescan_by_decoding

    def made(video: OpenVideo, scan: Scan, *, linear: bool) -> list[Product]:
        bench = VideoBench(
            video,
            scan,
            content_hash=content_hash,
            maker=maker,
            folder=folder,
            stem=stem,
            text=text,
            linear=linear,
            sound=sound,
        )
        return list(mapper.make(bench, params, model))

    with opened() as video:
        scan = with_rotation(video, probe(video, hold=True))
        if is_planned(video, scan):
            with contextlib.suppress(FramesMissing):
                return made(video, scan, linear=False)
        try:
            return made(video, scan, linear=True)
        except FramesMissing:
            with opened() as again:
                rescan = rescan_by_decoding(again)
                # Where FFmpeg complained, frames are lost, and a clip without them would pass for a whole one.
                if again.logs or rescan.info.num_frames_from_scan == scan.info.num_frames_from_scan:
                    raise
                info = replace(rescan.info, rotation_degrees=scan.info.rotation_degrees)
                return made(again, replace(rescan, info=info), linear=True)


def product_name(stem: str, content_hash: str, maker: str) -> str:
    """Name of the products of one video, without frames and suffix. A product's own products do not grow longer names.

    >>> product_name("a__dj_0123456789abcdef_0-24", "00ff", "m")
    'a__dj_94e066b1acd0353f'
    """
    digest = hashlib.blake2b(f"{content_hash}\n{maker}".encode(), digest_size=8).hexdigest()
    short = _MADE.sub("", stem).encode(errors="surrogateescape")[:MOST_STEM_BYTES].decode(errors="ignore")
    return f"{short}__dj_{digest}"


def _check_spans(spans: Sequence[Span], num_frames: int) -> None:
    for before, span in zip([Span(0, 1), *spans], spans, strict=False):
        if not before.first <= span.first < span.stop <= num_frames:
            raise ValueError(f"span {span}: expected first < stop <= {num_frames}, by rising first frame")


class _Placing:
    """Files that are written beside and get their names together, once all are whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[Path, Path] = {}

    def beside(self, path: Path) -> Path:
        """The temporary name to write to."""
        temporary = temporary_beside(path)
        self._paths[temporary] = path
        return temporary

    def __enter__(self) -> _Placing:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(self._folder, error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                for temporary, path in self._paths.items():
                    if not _are_same(temporary, path):
                        put_in_place(temporary, path)
        except OSError as error:
            raise _refused(self._folder, error) from error
        finally:
            for temporary in self._paths:
                temporary.unlink(missing_ok=True)


def _are_same(new: Path, path: Path) -> bool:
    """Whether that file is there, byte by byte. Another run may have made it, and be reading it: it keeps its time."""
    with contextlib.suppress(FileNotFoundError):
        return not path.is_symlink() and filecmp.cmp(new, path, shallow=False)
    return False


def _refused(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write to {folder}: {error.strerror or error}",
        allowed="a writable folder with free space",
        try_="name another folder with save_dir, or mend its rights, then run again; what is written is kept",
    )
