"""The rows of the store: facts about videos, stats tables per shard, verdicts per sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dj_assets.errors import Status

Outcome = Literal["kept", "dropped", "undecided"]


@dataclass(frozen=True)
class Fact:
    """What one measure found in one video, wherever the video lies and whoever asks.

    value: the stat, None where it could not be measured. window_values: one per window, before reduction.
    window_details: JSON text per window (text boxes), or empty. cost_seconds: worker time spent on this
    measure, its share of the decode included. device: where it was computed. measured_at: UTC, ISO 8601.
    """

    content_hash: str
    operator: str
    measure_id: str
    stat: str
    value: float | None
    window_values: tuple[float, ...] = ()
    window_details: tuple[str, ...] = ()
    status: Status = "ok"
    reason: str = ""
    cost_seconds: float = 0.0
    device: str = "cpu"
    measured_at: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a stats table: a subject, and a fact about it. It is a video of a sample, or the sample itself, whose
    field and path are empty.

    reused: whether the number was found in the store instead of being measured for this materialization.
    """

    sample_id: str
    field: str
    position: int
    path: str
    fact: Fact
    reused: bool = False


@dataclass(frozen=True)
class Verdict:
    """What happens to a sample, and why.

    step: the first failing step's key (dropped), or the first step that could not be decided (undecided).
    value and bound: the failing number and the range it left, as text (`video_motion_score >= 2.0`); of a step over the
    whole dataset its rule in words.
    status, reason: why undecided; the reason also why a step over the whole dataset dropped it.
    in_favour_of: id of the sample that stays in its place.
    """

    sample_id: str
    outcome: Outcome
    step: str = ""
    operator: str = ""
    stat: str = ""
    values: tuple[float | None, ...] = ()
    bound: str = ""
    status: Status = "ok"
    reason: str = ""
    in_favour_of: str = ""


@dataclass(frozen=True)
class Ballot:
    """What one sample brings to the steps over the whole dataset, so that these never look at its shard again.

    failing, unknown: places in the recipe, from 0, of the first step that fails and of the first that could not be
    decided; None where none is. papers: one per step over the whole dataset, in order: JSON, or empty where a step
    before it does not let the sample pass.
    """

    sample_id: str
    failing: int | None = None
    unknown: int | None = None
    papers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relations:
    """Which papers of a step over the whole dataset are related, all with all. papers: digests. pairs: two places in
    `papers`, and a weight."""

    papers: tuple[str, ...] = ()
    pairs: tuple[tuple[int, int, float], ...] = ()


@dataclass(frozen=True)
class Provenance:
    """Written into every record file's own metadata and into the ledger.

    asset: asset key joined by `/`. code_version: measure id, or a digest of the bounds. created_at: UTC, ISO
    8601, filled in when the file is written. rows: rows in the file, filled in too.
    """

    asset: str
    shard: str
    recipe: str
    recipe_sha256: str
    code_version: str
    run_id: str = ""
    created_at: str = ""
    rows: int = 0
    versions: str = ""
