"""What each measure is: operator, version, params, device. One small file beside its facts, written once.

A measure id is a digest and cannot be read backwards; this file is what lets people and lineage do it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dj_assets.store import files
from dj_assets.store.facts import folder_of

log = logging.getLogger(__name__)

FILE_NAME = "measure.json"


@dataclass(frozen=True)
class MeasureInfo:
    """What gave the numbers under one measure id. params: canonical, as `Params.canonical` gives them."""

    operator: str
    measure_id: str
    version: int
    params: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"

    def differs_from(self, other: MeasureInfo, unwritten: Mapping[str, Any] | None = None) -> list[str]:
        """What makes two measures of one operator two, in words: ["sampling_fps 2.0 → 4.0"]. Empty if nothing does.

        unwritten: values of params that are left out of `params`, as of `Params.added`; others are null there.
        """
        unwritten = unwritten or {}
        words = []
        if self.version != other.version:
            words.append(f"version {other.version} → {self.version}")
        for name in dict.fromkeys([*other.params, *self.params]):
            old, new = (params.get(name, unwritten.get(name)) for params in (other.params, self.params))
            if old != new:
                words.append(f"{name} {json.dumps(old)} → {json.dumps(new)}")
        if self.device != other.device:
            words.append(f"device {other.device} → {self.device}")
        return words


def describe(root: Path, info: MeasureInfo) -> None:
    """Write down what a measure is, unless that is done. Raises `StoreError` where the disk refuses."""
    path = folder_of(root, info.operator, info.measure_id) / FILE_NAME
    if path.exists():
        return
    text = json.dumps(asdict(info), sort_keys=True, indent=1)
    files.write_atomically(path, lambda temporary: _write(temporary, text))


def described(root: Path, operator: str | None = None) -> Iterator[MeasureInfo]:
    """Every measure that is written down, of one operator or of all, in the order of their ids."""
    pattern = f"{files.part(operator, what='operator') if operator else '*'}/*/{FILE_NAME}"
    for path in sorted((root / "measures").glob(pattern)):
        try:
            yield MeasureInfo(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s says nothing of its measure: %s", path, error)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
