"""Versions for Dagster: code versions say what was asked for, data versions what came out.

A data version is a digest of content without times and costs, so that making the same thing again makes nothing
downstream stale.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dj_assets.export_manifest import samples_digest
from dj_assets.plan import Plan
from dj_assets.samples import Sample
from dj_assets.store.rows import Row, Verdict
from dj_assets.trace import traced_steps

NUMBER_LIBRARIES = ("dj-assets", "dagster", "av", "opencv-python-headless", "easyocr", "torch", "numpy")
"""Packages whose version may explain a number."""


_COMPACT = json.JSONEncoder(separators=(",", ":"))

EVIDENCE_CODE_VERSION = "1"
"""Of how pictures are drawn. What they show follows from `filtered`, whose data version tells when they are old."""


def _digest(facts: Iterable[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        digest.update(_COMPACT.encode(fact).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def samples_code_version(plan: Plan) -> str:
    """Digest of what decides which samples a shard holds and which files they may name."""
    recipe, settings = plan.recipe, plan.recipe.settings
    return _digest(
        [
            str(recipe.dataset_path),
            [recipe.text_key, recipe.video_special_token, list(recipe.suffixes), list(plan.video_keys)],
            [settings.shard_size, list(settings.roots), settings.limits.max_file_mb],
        ]
    )


def made_samples_code_version(plan: Plan) -> str:
    """Digest of what decides which samples a mapper makes of those that the stage before keeps."""
    step, recipe = plan.made_by, plan.recipe
    assert step is not None
    return _digest(
        [
            [step.key, step.measure_id, step.video_key, step.keeps_original, step.clip_per_sample, step.frames_field],
            [str(step.folder or ""), recipe.settings.on_undecided, list(plan.video_keys)],
            [recipe.text_key, recipe.video_special_token, recipe.eoc_special_token],
        ]
    )


def export_code_version(plan: Plan) -> str:
    """Digest of what decides which files an export writes, and how."""
    recipe = plan.recipe
    # Only where they are asked for: exports of recipes that trace nothing stay what they were.
    traces = [[[step.key for step in traced_steps(plan)], recipe.trace_num]] if recipe.open_tracer else []
    return _digest(
        [
            plan.bounds_id,
            [str(recipe.export_path), recipe.export_type, recipe.export_shard_size],
            [recipe.keep_stats_in_res_ds, recipe.keep_hashes_in_res_ds],
            [recipe.settings.on_undecided, recipe.settings.export_paths],
            *traces,
        ]
    )


def samples_version(samples: Sequence[Sample]) -> str:
    """Digest of the records and of their videos' bytes, as an export's manifest has it."""
    return samples_digest(samples)


def table_version(rows: Sequence[Row]) -> str:
    """Digest of a stats table, without who computed it, when, and at what cost."""
    return _digest(_row_facts(row) for row in rows)


def _row_facts(row: Row) -> list[Any]:
    fact = row.fact
    return [
        [row.sample_id, row.field, row.position, row.path, fact.content_hash],
        [fact.operator, fact.measure_id, fact.stat, fact.value, fact.status, fact.reason],
        [list(fact.window_values), list(fact.window_details)],
    ]


def verdicts_version(
    samples: Sequence[Sample], tables: Mapping[str, Sequence[Row]], verdicts: Sequence[Verdict]
) -> str:
    """Digest of the verdicts and of everything else that an export reads.

    With it the export follows from `filtered` alone, and the graph stays a chain that people can read.
    """
    return _digest(
        [
            samples_version(samples),
            [[step, table_version(rows)] for step, rows in sorted(tables.items())],
            [[v.sample_id, v.outcome, v.step, v.stat, list(v.values), v.bound, v.status] for v in verdicts],
        ]
    )


def joint_version(versions: Mapping[str, str]) -> str:
    """Of a run over many shards, for which Dagster takes one data version; of a run over one, its own."""
    return next(iter(versions.values())) if len(versions) == 1 else _digest(sorted(versions.items()))


@cache
def library_versions() -> str:
    """Versions of the packages behind the numbers, as `name version, …`; imports none of them."""
    found = []
    for name in NUMBER_LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def analysis_code_version(plan: Plan) -> str:
    """Digest of what an analysis asks: which measures, and the bounds that its pictures show."""
    return _digest([plan.bounds_id, list(plan.recipe.percentiles), plan.recipe.settings.short_circuit])
