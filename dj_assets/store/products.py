"""What mappers made of which video: kept like facts, so that nothing is made twice while its files are there.

A product follows from a video's bytes, a mapper's measure and, where the mapper reads it, the sample's text. It lies in
the facts log as one line per video: the number of products as its value, each of them as JSON in `window_details`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dj_assets.errors import Status
from dj_assets.store import facts as facts_log
from dj_assets.store.rows import Fact

STAT = "products"
IN = " in "
"""Before the folder in a stat's name."""


@dataclass(frozen=True)
class ProductFile:
    """One product as it is kept.

    path, text, begin_seconds, end_seconds, is_parent: as in `operators._mapper.Product`. content_hash, num_bytes,
    modified_ns: of its file when it was made; empty and 0 for words, and for the parent itself.
    """

    path: str = ""
    begin_seconds: float = 0.0
    end_seconds: float = 0.0
    text: str = ""
    is_parent: bool = False
    content_hash: str = ""
    num_bytes: int = 0
    modified_ns: int = 0


@dataclass(frozen=True, order=True)
class ProductKey:
    """What products hang on besides the measure. text: empty where the mapper does not read it. folder: where they must
    lie; empty for beside the video. Recipes that share a measure, but no folder, have products of their own."""

    content_hash: str
    text: str = ""
    folder: str = ""

    @property
    def stat(self) -> str:
        """The name under which the facts log has them."""
        return f"{self.stat_of_any_folder}{IN}{_digest(self.folder)}" if self.folder else self.stat_of_any_folder

    @property
    def stat_of_any_folder(self) -> str:
        """That of products beside the video; the others' begin with it."""
        return f"{STAT} of text {_digest(self.text)}" if self.text else STAT


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Kept:
    """What is known of one video: its products, or why there can be none."""

    products: tuple[ProductFile, ...]
    status: Status = "ok"
    reason: str = ""


def find(
    root: Path,
    mapper: str,
    measure_id: str,
    keys: Collection[ProductKey],
    but_not_statuses: Collection[Status] = (),
) -> dict[ProductKey, Kept]:
    """What is known of some videos. Failures that may pass (a crash, a timeout) are not; nor are answers of these
    statuses. Whether the files are still there is not looked at."""
    found = facts_log.find(root, mapper, measure_id, {key.content_hash for key in keys}, but_not_statuses)
    of_video: dict[str, dict[str, Fact]] = {}
    for facts in found.values():
        for fact in facts:
            of_video.setdefault(fact.content_hash, {})[fact.stat] = fact
    chosen = ((key, _chosen(key, of_video.get(key.content_hash, {}))) for key in keys)
    return {key: _kept(fact) for key, fact in chosen if fact is not None}


def _chosen(key: ProductKey, by_stat: Mapping[str, Fact]) -> Fact | None:
    """The answer for its own folder; else that for beside the video; else, where that was asked, for any folder."""
    if (own := by_stat.get(key.stat) or by_stat.get(key.stat_of_any_folder)) is not None or key.folder:
        return own
    return next((fact for stat, fact in sorted(by_stat.items()) if stat.startswith(f"{key.stat}{IN}")), None)


def _kept(fact: Fact) -> Kept:
    return Kept(tuple(ProductFile(**json.loads(one)) for one in fact.window_details), fact.status, fact.reason)


def fact_of(
    key: ProductKey,
    kept: Kept,
    *,
    mapper: str,
    measure_id: str,
    device: str,
    cost_seconds: float,
    measured_at: str,
) -> Fact:
    """The line of the facts log that keeps this."""
    is_made = kept.status == "ok"
    return Fact(
        content_hash=key.content_hash,
        operator=mapper,
        measure_id=measure_id,
        stat=key.stat,
        value=float(len(kept.products)) if is_made else None,
        window_details=tuple(json.dumps(asdict(product)) for product in kept.products) if is_made else (),
        status=kept.status,
        reason=kept.reason,
        cost_seconds=cost_seconds,
        device=device,
        measured_at=measured_at,
    )


def listed(root: Path, mapper: str, measure_id: str) -> Iterable[tuple[str, ProductFile]]:
    """(content hash of the parent, product) of every product file that was ever kept under one measure."""
    for fact in facts_log.every(root, mapper, measure_id, stat_prefix=STAT):
        for product in _kept(fact).products:
            if product.path and not product.is_parent:
                yield fact.content_hash, product


def by_path(found: Mapping[ProductKey, Kept]) -> dict[str, ProductFile]:
    """The product files among these, by path."""
    return {one.path: one for kept in found.values() for one in kept.products if one.path and not one.is_parent}
