"""The store's public face: samples, facts, stats and verdicts, written whole or not at all.

<root>/measures/<operator>/<measure id>/<uuid>.parquet    facts, by content; added, never changed
       tables/<recipe>/samples/<shard>.parquet            what a recipe's run said of a shard; replaced whole
       tables/<recipe>/stats/<step>/<shard>.parquet
       tables/<recipe>/verdicts/<shard>.parquet
       tables/<recipe>/ballots/<shard>.parquet            see `ballots`; where steps decide over the whole dataset
       export/<recipe>/                                   parts of the export
       measures/<operator>/<measure id>/measure.json      what the measure id stands for
       identities/                                        which bytes lay at which path, to spare reading them again
       ledger/<yyyy-mm-dd>/<uuid>.json                    what was written when, by whom
       stats.duckdb                                       views over all of it; disposable
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dj_assets.errors import Status, StoreError
from dj_assets.samples import Sample, Shard
from dj_assets.store import (
    ballots,
    costs,
    files,
    identities,
    index,
    landings,
    ledger,
    lineage,
    measures,
    peers,
    probes,
    products,
)
from dj_assets.store import facts as facts_log
from dj_assets.store.measures import MeasureInfo
from dj_assets.store.rows import Ballot, Fact, Provenance, Relations, Row, Verdict
from dj_assets.store.schemas import (
    BALLOTS,
    SAMPLES,
    STATS,
    VERDICTS,
    Table,
    ballot_record,
    row_of,
    row_record,
    sample_of,
    sample_record,
    verdict_of,
    verdict_record,
)

log = logging.getLogger(__name__)

Noun = TypeVar("Noun")


@dataclass(frozen=True)
class Store:
    """Tables under one folder, which is made when something is first written.

    Any number of processes may read and write at once. Methods that touch the disk raise `StoreError`.
    Recipes, steps, shards, operators and measures are named with letters, digits, `.`, `_` and `-` only.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).expanduser().absolute())

    # --- tables of a recipe -------------------------------------------------------------------------------

    def samples_path(self, recipe: str, shard: str) -> Path:
        """File of a shard's samples, whether or not it exists."""
        return self._table_path(recipe, "samples", shard)

    def stats_path(self, recipe: str, step_key: str, shard: str) -> Path:
        """File of a shard's stats under one step, whether or not it exists."""
        return self._table_path(recipe, "stats", files.part(step_key, what="step"), shard)

    def verdicts_path(self, recipe: str, shard: str) -> Path:
        """File of a shard's verdicts, whether or not it exists."""
        return self._table_path(recipe, "verdicts", shard)

    def write_samples(self, recipe: str, shard: str, samples: Sequence[Sample], provenance: Provenance) -> Path:
        """Replace a shard's samples."""
        path = self.samples_path(recipe, shard)
        place = {"recipe": recipe, "shard": shard}
        return self._write(path, SAMPLES, [sample_record(sample, place) for sample in samples], provenance)

    def read_samples(self, recipe: str, shard: str) -> list[Sample]:
        """A shard's samples, as written."""
        path = self.samples_path(recipe, shard)
        return self._read(path, SAMPLES, sample_of, asset=f"{recipe}/samples", shard=shard)

    def write_stats(self, recipe: str, step_key: str, shard: str, rows: Sequence[Row], provenance: Provenance) -> Path:
        """Replace a shard's stats under one step."""
        path = self.stats_path(recipe, step_key, shard)
        place = {"recipe": recipe, "shard": shard, "step": step_key}
        return self._write(path, STATS, [row_record(row, place) for row in rows], provenance)

    def read_stats(self, recipe: str, step_key: str, shard: str) -> list[Row]:
        """A shard's stats under one step, as written."""
        path = self.stats_path(recipe, step_key, shard)
        return self._read(path, STATS, row_of, asset=f"{recipe}/stats/{step_key}", shard=shard)

    def read_stats_and_origin(self, recipe: str, step_key: str, shard: str) -> tuple[list[Row], Provenance]:
        """A shard's stats under one step, as written, and where they come from."""
        path = self.stats_path(recipe, step_key, shard)
        with _missing_as(path, asset=f"{recipe}/stats/{step_key}", shard=shard):
            found, provenance = files.read_table_and_origin(path, STATS)
        return [row_of(record) for record in STATS.unpack(found)], provenance

    def stats_provenance(self, recipe: str, step_key: str, shard: str) -> Provenance | None:
        """Where a shard's stats come from, by the file's footer; None where they have to be made again."""
        return self._provenance(self.stats_path(recipe, step_key, shard))

    def write_verdicts(self, recipe: str, shard: str, verdicts: Sequence[Verdict], provenance: Provenance) -> Path:
        """Replace a shard's verdicts."""
        path = self.verdicts_path(recipe, shard)
        place = {"recipe": recipe, "shard": shard}
        return self._write(path, VERDICTS, [verdict_record(verdict, place) for verdict in verdicts], provenance)

    def read_verdicts(self, recipe: str, shard: str) -> list[Verdict]:
        """A shard's verdicts, as written."""
        path = self.verdicts_path(recipe, shard)
        return self._read(path, VERDICTS, verdict_of, asset=f"{recipe}/filtered", shard=shard)

    def verdicts_provenance(self, recipe: str, shard: str) -> Provenance | None:
        """Where a shard's verdicts come from, by the file's footer; None where they have to be made again."""
        return self._provenance(self.verdicts_path(recipe, shard))

    def write_ballots(
        self, recipe: str, shard: str, ballots_: Sequence[Ballot], alone: Sequence[Verdict], provenance: Provenance
    ) -> Path:
        """Replace what a shard brings to the steps over the whole dataset. alone: the verdict on each sample alone."""
        place = {"recipe": recipe, "shard": shard}
        records = [ballot_record(*pair, place) for pair in zip(ballots_, alone, strict=True)]
        path = self._ballots_path(recipe, shard)
        # Not in the ledger: nobody asks where it comes from that the verdicts made of it do not answer.
        files.write_table(path, BALLOTS, BALLOTS.pack(records), replace(_dated(provenance), rows=len(records)))
        return path

    def read_ballots(self, recipe: str, shard: str) -> tuple[Sequence[Ballot], str] | None:
        """(ballots, code version) of a shard; None where they have to be made again."""
        return ballots.read(self._ballots_path(recipe, shard))

    def read_alone(self, recipe: str, shard: str) -> list[Verdict]:
        """The verdicts on a shard's samples alone, as written with its ballots."""
        path = self._ballots_path(recipe, shard)
        with _missing_as(path, asset=f"{recipe}/filtered", shard=shard):
            return ballots.read_alone(path)

    def read_settled(self, recipe: str) -> dict[str, str]:
        """shard → version of its verdicts, as the steps over the whole dataset settled them last."""
        return ballots.read_settled(self._ballots_path(recipe, "any").parent)

    def write_settled(self, recipe: str, versions: Mapping[str, str]) -> None:
        """Replace what was settled."""
        ballots.write_settled(self._ballots_path(recipe, "any").parent, versions)

    def recall_relations(self, recipe: str, step_key: str, relation_id: str) -> Relations:
        """Which papers of a step are known to be related, under this rule."""
        return ballots.recall_relations(self._ballots_path(recipe, "any").parent, step_key, relation_id)

    def remember_relations(self, recipe: str, step_key: str, relation_id: str, relations: Relations) -> None:
        """Replace that."""
        ballots.remember_relations(self._ballots_path(recipe, "any").parent, step_key, relation_id, relations)

    @contextmanager
    def settling(self, recipe: str) -> Iterator[None]:
        """Nobody else settles this recipe, or exports what was settled, meanwhile."""
        with ballots.locked(self._ballots_path(recipe, "any").parent):
            yield

    def _ballots_path(self, recipe: str, shard: str) -> Path:
        return self._table_path(recipe, "ballots", shard)

    def decided_shards(self, recipe: str) -> list[str]:
        """Shards of a recipe that have verdicts, sorted."""
        return sorted(path.stem for path in self.verdicts_path(recipe, "any").parent.glob("*.parquet"))

    def numbers_of_others(
        self, recipe: str, step_key: str, *, code_version: str, but_not: Collection[str]
    ) -> dict[str, dict[str, list[float]]]:
        """shard → stat → numbers under one step, of the newest other shards of this code version, at most 20."""
        folder = self.stats_path(recipe, step_key, "any").parent
        return peers.numbers(folder, code_version=code_version, but_not=but_not)

    def outcomes_of_others(
        self, recipe: str, *, code_version: str, but_not: Collection[str]
    ) -> dict[str, Counter[str]]:
        """shard → outcome → samples, of the newest other shards of this code version, at most 20."""
        folder = self.verdicts_path(recipe, "any").parent
        return peers.outcomes(folder, code_version=code_version, but_not=but_not)

    def export_parts(self, recipe: str) -> Path:
        """Folder for the parts of a recipe's export; made if it is not there."""
        folder = self.root / "export" / files.part(recipe, what="recipe")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(error) from error
        return folder

    def record_export(self, manifest: Path, provenance: Provenance) -> None:
        """Put into the ledger that an export was written. manifest: its copy below `export_parts`."""
        ledger.append(self.root, kind="export", path=manifest, provenance=_dated(provenance))

    # --- facts, whoever asks ------------------------------------------------------------------------------

    def find_facts(
        self,
        operator: str,
        measure_id: str,
        content_hashes: Collection[str],
        *,
        but_not_statuses: Collection[Status] = (),
    ) -> dict[str, tuple[Fact, ...]]:
        """What a measure gives for some videos: content hash → facts, one per stat, in the order added.

        Videos without a lasting answer (`facts.CONTENT_STATUSES`) are left out. The newest number wins, and
        any number wins over a failure. Nor are those whose answer is one of `but_not_statuses`.
        """
        return facts_log.find(self.root, operator, measure_id, content_hashes, but_not_statuses)

    def contents_of_run(self, operator: str, measure_id: str, run_id: str) -> set[str]:
        """Content hashes of the videos of which one run measured this."""
        return facts_log.contents_of_run(self.root, operator, measure_id, run_id)

    def append_facts(self, facts: Sequence[Fact], provenance: Provenance) -> list[Path]:
        """Add facts: one new file per measure, in order of first appearance.

        Facts must be about content: ValueError for one without a content hash, or `skipped`.
        """
        return facts_log.append(self.root, facts, _dated(provenance))

    def compact_facts(self, operator: str, measure_id: str, paths: Sequence[Path]) -> Path | None:
        """Put several files of `append_facts` into one; they are removed some minutes later. None: they are gone.

        Until then the facts are there twice, which neither lookups nor the `facts` view show.
        """
        return facts_log.compact(self.root, operator, measure_id, paths)

    def find_probes(self, content_hashes: Collection[str]) -> dict[str, dict[str, Any]]:
        """What is written down of what videos are: content hash → value by column of `probes.COLUMNS`."""
        return probes.find(self.root, content_hashes)

    def append_probes(self, found: Mapping[str, Mapping[str, Any]], provenance: Provenance) -> None:
        """Write down what some videos are: content hash → value by column of `probes.COLUMNS`."""
        origin = _dated(provenance)
        if found:
            probes.append(self.root, found, origin.created_at, origin)

    def find_products(
        self,
        mapper: str,
        measure_id: str,
        keys: Collection[products.ProductKey],
        *,
        but_not_statuses: Collection[Status] = (),
    ) -> dict[products.ProductKey, products.Kept]:
        """What a mapper has made of some videos, or why nothing can be made of them; see `products.find`. New ones are
        added by `append_facts`."""
        return products.find(self.root, mapper, measure_id, keys, but_not_statuses)

    def samples_provenance(self, recipe: str, shard: str) -> Provenance | None:
        """Where a shard's samples come from, by the file's footer; None where they have to be made again."""
        return self._provenance(self.samples_path(recipe, shard))

    def describe_measure(self, info: MeasureInfo) -> None:
        """Write down what a measure id stands for, once."""
        measures.describe(self.root, info)

    def measures(self, operator: str | None = None) -> list[MeasureInfo]:
        """Every measure that was ever taken, of one operator or of all."""
        return list(measures.described(self.root, operator))

    def knows_measure(self, operator: str, measure_id: str) -> bool:
        """Whether a measure was ever taken."""
        return any(info.measure_id == measure_id for info in self.measures(operator))

    def recent_costs(self, operator: str, measure_id: str) -> dict[str, float]:
        """Worker seconds of some videos under a measure, by content hash; see `costs.recent`."""
        return costs.recent(self.root, operator, measure_id)

    def remember_identities(self, shard: Shard, samples: Sequence[Sample]) -> None:
        """Write down which bytes lay at which path, for `recall_identities`."""
        identities.remember(self.root, shard, samples)

    def recall_identities(self, shard: Shard) -> identities.Known:
        """path → (content hash, bytes, modification time in ns) of the files that a shard's samples listed."""
        return identities.recall(self.root, shard)

    def undecided_shards(self, recipe: str, statuses: Collection[Status]) -> dict[str, int]:
        """Shards of a recipe that have samples undecided for one of these reasons, and how many."""
        return lineage.undecided_shards(self.root, recipe, statuses)

    def remember_landing(self, recipe: str, text: str) -> str:
        """Keep what a recipe's sensor knows of its landing folder. Returns the name for `recall_landing`."""
        return landings.remember(self.root, recipe, text)

    def recall_landing(self, recipe: str, name: str) -> str | None:
        """What `remember_landing` kept under that name; None where it is not there."""
        return landings.recall(self.root, recipe, name)

    # --- the index, and housekeeping ----------------------------------------------------------------------

    @property
    def index_path(self) -> Path:
        """The DuckDB file that people open: `duckdb.connect("duckdb:" + str(path), read_only=True)`."""
        return self.root / index.FILE_NAME

    def refresh_index(self) -> str | None:
        """Make the DuckDB file show every table that exists; costs a few file listings where it does already.

        Returns a warning to show, or None. Once a day it also removes what killed writers left.
        """
        self._sweep_daily()
        return index.refresh(self.root)

    def sweep(self) -> list[Path]:
        """Remove what nobody needs: compacted facts files, and a day-old temporary file of a killed writer.

        Returns what went.
        """
        folders = (self.root / "measures").glob("*/*/")
        return [*files.sweep(self.root), *(old for f in folders for old in facts_log.remove_superseded(f))]

    def _sweep_daily(self) -> None:
        mark = self.root / ".swept"
        try:
            if mark.exists() and time.time() - mark.stat().st_mtime < files.ORPHAN_SECONDS:
                return
            if self.root.is_dir():
                mark.touch()
                self.sweep()
        except OSError as error:
            log.debug("not swept: %s", error)

    # --- how ----------------------------------------------------------------------------------------------

    def _table_path(self, recipe: str, *parts: str) -> Path:
        *folders, shard = parts
        folder = self.root.joinpath("tables", files.part(recipe, what="recipe"), *folders)
        return folder / f"{files.part(shard, what='shard')}.parquet"

    def _provenance(self, path: Path) -> Provenance | None:
        try:
            return files.read_provenance(path)
        except FileNotFoundError:
            return None
        except files.Damaged as error:
            log.warning("%s", error.one_line())
            return None
        except OSError as error:
            raise _unreadable(error) from error

    def _write(self, path: Path, table: Table, records: list[dict[str, Any]], provenance: Provenance) -> Path:
        origin = replace(_dated(provenance), rows=len(records))
        files.write_table(path, table, table.pack(records), origin)
        ledger.append(self.root, kind=table.name, path=path, provenance=origin)
        return path

    def _read(
        self, path: Path, table: Table, noun: Callable[[Mapping[str, Any]], Noun], *, asset: str, shard: str
    ) -> list[Noun]:
        with _missing_as(path, asset=asset, shard=shard):
            found = files.read_table(path, table)
        return [noun(record) for record in table.unpack(found)]


@contextmanager
def _missing_as(path: Path, *, asset: str, shard: str) -> Iterator[None]:
    """A table that is not there, or that the system will not let us read, as a `StoreError`."""
    try:
        yield
    except FileNotFoundError:
        raise StoreError(
            f"there is no table {asset} of shard {shard}",
            allowed=f"shards that were materialized: {_listed(path.parent)}",
            try_=f"materialize {asset} for partition {shard} first",
        ) from None
    except OSError as error:
        raise _unreadable(error) from error


def _dated(provenance: Provenance) -> Provenance:
    return replace(provenance, created_at=provenance.created_at or datetime.now(UTC).isoformat())


def _listed(folder: Path, *, most: int = 5) -> str:
    names = sorted(path.stem for path in folder.glob("*.parquet"))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none yet"


def _unreadable(error: OSError) -> StoreError:
    return StoreError(
        f"cannot read the store: {error}",
        allowed="files that this user may read",
        try_="mend the rights of the folder",
    )


def _unwritable(error: OSError) -> StoreError:
    return StoreError(
        f"cannot write the store: {error}",
        allowed="a writable folder with free space",
        try_="mend the rights of the folder, or name another store",
    )
