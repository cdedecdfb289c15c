"""Counts videos opened and decoded, from outside: Python imports this file at the start of every process whose
PYTHONPATH has this folder, spawned workers included. The program that is counted neither knows nor helps.

`DECODE_LOG` names a file that gets one line per event, `opened` or `decoded`, a tab, the library, a tab, the path.
A container or capture is decoded once it has given its first frame, or a packet of it was sent to a decoder; so a
header that is read counts as opened only.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

LOG = os.environ.get("DECODE_LOG")


def note(event: str, library: str, path: str) -> None:
    """Add a line; a single short append, so lines of several processes do not mix."""
    assert LOG is not None
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{event}\t{library}\t{path}\n".encode("utf-8", "surrogateescape"))
    finally:
        os.close(descriptor)


def path_of(source: Any) -> str:
    """What is read: a path as given, or the file behind a file object, also one made of a descriptor."""
    if hasattr(source, "fileno"):
        return os.path.realpath(f"/proc/self/fd/{source.fileno()}")
    return str(source)


class CountedContainer:
    """A PyAV input container that notes its first frame. Its types are compiled, so they are wrapped, not patched."""

    def __init__(self, container: Any, path: str) -> None:
        self.__dict__.update(_container=container, _path=path, _decoded=False)
        note("opened", "av", path)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """Of what it stands for, because py-data-juicer asks with isinstance."""
        return type(self._container)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._container, name, value)

    def __enter__(self) -> CountedContainer:
        self._container.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._container.__exit__(*error)

    def decode(self, *streams: Any, **chosen: Any) -> Iterator[Any]:
        for frame in self._container.decode(*streams, **chosen):
            self.note_decoded()
            yield frame

    def demux(self, *streams: Any, **chosen: Any) -> Iterator[Any]:
        for packet in self._container.demux(*streams, **chosen):
            yield CountedPacket(packet, self)

    def note_decoded(self) -> None:
        if not self._decoded:
            self.__dict__["_decoded"] = True
            note("decoded", "av", self._path)


class CountedPacket:
    """A packet that tells its container when it is sent to a decoder, which may give its frame with a later one."""

    def __init__(self, packet: Any, container: CountedContainer) -> None:
        self._packet = packet
        self._of = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._packet, name)

    def __bytes__(self) -> bytes:
        return bytes(self._packet)

    def decode(self) -> Any:
        self._of.note_decoded()
        return self._packet.decode()


def count_in_av(av: ModuleType) -> None:
    """Put a counting `open` in front of PyAV's."""
    plain = av.open

    def counted_open(file: Any, mode: str | None = None, *arguments: Any, **options: Any) -> Any:
        path = path_of(file)
        container = plain(file, mode, *arguments, **options)
        return container if mode is not None and mode.startswith("w") else CountedContainer(container, path)

    av.open = av.container.open = counted_open  # type: ignore[attr-defined]


class CountedCapture:
    """An OpenCV capture that notes its first frame. Wrapped, because a subclass of the compiled type crashes."""

    plain: Any

    def __init__(self, *arguments: Any) -> None:
        self._capture = self.plain(*arguments)
        self._path, self._decoded = "", False
        if arguments:
            self._note_opened(arguments[0])

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._capture)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)

    def open(self, source: Any, *arguments: Any) -> Any:
        self._note_opened(source)
        return self._capture.open(source, *arguments)

    def read(self, *arguments: Any) -> Any:
        answer = self._capture.read(*arguments)
        self._note_decoded(answer[0])
        return answer

    def grab(self) -> Any:
        grabbed = self._capture.grab()
        self._note_decoded(grabbed)
        return grabbed

    def _note_opened(self, source: Any) -> None:
        self._path, self._decoded = path_of(source), False
        note("opened", "cv2", self._path)

    def _note_decoded(self, came: bool) -> None:
        if came and not self._decoded:
            self._decoded = True
            note("decoded", "cv2", self._path)


def count_in_cv2(cv2: ModuleType) -> None:
    """Put the counting class in place of OpenCV's `VideoCapture`."""
    plain = getattr(cv2, "VideoCapture", None)
    # The package imports its compiled half under the same name: it may be counted already, or not be there yet.
    if plain is not None and not issubclass(plain, CountedCapture):
        cv2.VideoCapture = type("VideoCapture", (CountedCapture,), {"plain": plain})  # type: ignore[attr-defined]


COUNTED: dict[str, Callable[[ModuleType], None]] = {"av": count_in_av, "cv2": count_in_cv2}


class Finder:
    """Finds the counted libraries where Python would, and has them changed right after they are loaded.

    Loading them here instead would put them into every process, those that never look at a video included.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in COUNTED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_count(module: ModuleType) -> None:
            execute(module)
            COUNTED[name](module)

        spec.loader.exec_module = execute_and_count  # type: ignore[method-assign]
        return spec


if LOG:
    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
