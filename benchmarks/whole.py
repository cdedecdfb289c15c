"""Whole runs of `dj-assets process` and `dj-process` over the same clips: what they cost and what they keep."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import peer, tables, trees
from benchmarks.reruns import Counted, Program, Project, ours, read_log, theirs

RECIPE = "r"
STATS_KEY = "__dj__stats__"

Process = list[dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Kept:
    """What an export holds. scores: stat -> file name of the clip -> value."""

    names: frozenset[str]
    scores: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Party:
    """Who runs, with how many processes, and the keys that its recipe has beside `process`.

    import_first: a folder in front of all others on its Python's path. variables: of its environment.
    """

    name: str
    np: int
    is_peer: bool
    found: peer.Peer | None = None
    keys: Mapping[str, Any] | None = None
    import_first: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def program(self, caches: Path) -> Program:
        if not self.is_peer:
            return ours()
        assert self.found is not None
        program = theirs(self.found, caches)
        return replace(program, import_first=self.import_first, environment={**program.environment, **self.variables})


def our_party(name: str = "dj_assets", *, np: int = 2, **keys: Any) -> Party:
    return Party(name, np, is_peer=False, keys=keys)


def peer_party(name: str = "py-data-juicer", *, np: int = 2, **keys: Any) -> Party | None:
    """None where `python benchmarks/peer.py` has not built it."""
    found = peer.find()
    return Party(name, np, is_peer=True, found=found, keys=keys) if found else None


class Job:
    """One party's project: a folder of its own with the clips, an empty store and empty caches."""

    def __init__(self, party: Party, folder: Path, clips: Sequence[Path], process: Process) -> None:
        self.party = party
        self.folder = folder
        self.project = Project(folder / "project", clips, {RECIPE: process})
        self.project.recipes[RECIPE].update(np=party.np, keep_stats_in_res_ds=True, **(party.keys or {}))

    def run(self, *, counted: bool = False) -> trees.Cost:
        """Process the recipe, as it is now, in a tree of processes that is measured to its end.

        counted: also note what is decoded, see `decoded`. Raises `trees.CommandFailed` with what was printed last.
        """
        command, environment = self.project.ready(self.party.program(self.folder / "caches"), RECIPE, counted=counted)
        for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME", "DJ_ASSETS_OPERATORS"):
            environment.pop(name, None)
        self._log.unlink(missing_ok=True)
        # 3: some samples are undecided and set aside, which the export shows
        return trees.run(
            command, folder=self.project.folder, environment=environment, log=self.said, allowed_codes=(0, 3)
        )

    @property
    def said(self) -> Path:
        """What the last run printed."""
        return self.folder / "said.log"

    @property
    def _log(self) -> Path:
        return self.project.folder / "decoded.log"

    @property
    def decoded(self) -> Counted:
        """What the last run decoded, if it was counted."""
        return read_log(self._log)

    def kept(self) -> Kept:
        path = self.project.folder / "outputs" / RECIPE / "res.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        names = [Path(row["videos"][0]).name for row in rows]
        scores: dict[str, dict[str, float]] = {}
        for name, row in zip(names, rows, strict=True):
            for stat, values in row.get(STATS_KEY, {}).items():
                scores.setdefault(stat, {})[name] = values[0]
        return Kept(frozenset(names), scores)


@contextmanager
def fresh(party: Party, clips: Sequence[Path], process: Process) -> Iterator[Job]:
    """A job in a temporary folder, its clips copied and synced before anything is timed."""
    folder = Path(tempfile.mkdtemp(prefix="dj-assets-bench-"))
    try:
        job = Job(party, folder, clips, process)
        os.sync()
        yield job
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def difference(words: str, ours: Kept, theirs: Kept) -> Iterator[str]:
    """What two exports differ in, as sentences."""
    if ours.names == theirs.names:
        yield f"{words}: both keep the same {len(ours.names)} samples."
    else:
        only_ours, only_theirs = sorted(ours.names - theirs.names), sorted(theirs.names - ours.names)
        yield f"{words}: kept by dj_assets alone {only_ours}, by py-data-juicer alone {only_theirs}."
    for stat in sorted(ours.scores.keys() & theirs.scores.keys()):
        agreeing, compared, most = tables.agreement(ours.scores[stat], theirs.scores[stat])
        yield f"{words}: exported {stat} within 1e-6: {agreeing} of {compared}, the largest difference {most:.2g}."
