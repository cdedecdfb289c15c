"""Upstream's unit tests as a user runs them: a manifest, a recipe, `dj-assets process`, and what is exported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from dj_assets import operators
from dj_assets.cli import command_line

VIDEO = "<__dj__video>"
END_OF_CHUNK = "<|__dj__eoc|>"

Step = Mapping[str, Mapping[str, Any]]
"""One step as a recipe has it: operator -> options."""


@dataclass(frozen=True)
class Project:
    """A folder with a store of its own, so that what one row of a table has measured the next one reuses.

    clips: name -> path.
    """

    folder: Path
    clips: dict[str, Path] = field(default_factory=dict)

    def process(
        self, steps: Sequence[Step], rows: Sequence[Sequence[str]], *, texts: Sequence[str] = (), **keys: Any
    ) -> list[dict[str, Any]]:
        """The exported records. rows: the clips of each sample; texts: its text, else a video token per clip."""
        skip_unless_built(*(name for step in steps for name in step))
        number = len([*self.folder.glob("*.yaml")])
        given = texts or [VIDEO * len(row) for row in rows]
        records = [
            {"row": place, "text": text, "videos": [str(self.clips[name]) for name in row]}
            for place, (row, text) in enumerate(zip(rows, given, strict=True), start=1)
        ]
        manifest = self.folder / f"ds{number}.jsonl"
        manifest.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        recipe = self.folder / f"r{number}.yaml"
        export = self.folder / f"out{number}" / "res.jsonl"
        roots = sorted({str(path.parent) for path in self.clips.values()})
        written = {
            "dataset_path": str(manifest),
            "export_path": str(export),
            "keep_stats_in_res_ds": True,
            "process": [dict(step) for step in steps],
            "dj_assets": {"roots": roots},
            **keys,
        }
        recipe.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
        result = CliRunner().invoke(command_line, ["process", str(recipe)], prog_name="dj-assets")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in export.read_text(encoding="utf-8").splitlines()]

    def kept(self, steps: Sequence[Step], rows: Sequence[Sequence[str]], **more: Any) -> list[int]:
        """Which rows stay, counted from 1, in the order of the export."""
        return [record["row"] for record in self.process(steps, rows, **more)]


def skip_unless_built(*names: str) -> None:
    """Skip the test while an operator is not in the registry."""
    for name in names:
        if name not in operators.names():
            pytest.skip(f"{name} is not built yet")
