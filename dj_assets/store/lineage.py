"""Lineage, both ways: from a video or sample to everything known of it, and from a measure, run, export or video to
everything that rests on it.

    samples ──lists──► video (content) ──measure, run──► number ──bound──► verdict ──► export
        explain: left to right, for one                  blast_radius: right to left, for many

Queries read the record files through the index's SELECTs, and of those only what a question needs.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dj_assets.errors import RecipeError, StoreError
from dj_assets.store import files, index, probes
from dj_assets.store.rows import Provenance
from dj_assets.store.schemas import restored, storable

log = logging.getLogger(__name__)

HASH_DIGITS = 32
LEAST_PREFIX_DIGITS = 4
FIRST_SAMPLES = 5
NO_LIMIT = 9.2e18
"""Data-Juicer's defaults for "no limit" are sys.maxsize and the largest double."""

MOST_NAMES = 5

_HASH = re.compile(rf"[0-9a-f]{{{LEAST_PREFIX_DIGITS},{HASH_DIGITS}}}")
_END = re.compile(r"(\S+) (>=|<=|>|<) (\S+)")

Record = dict[str, Any]


# --- bounds and margins


@dataclass(frozen=True)
class Bounds:
    """The values of a stat that pass, read from the words in which a verdict or manifest states them.

    ends: (`>=`, limit), at most two. is_either: whether one of them is enough (`reversed_range`), not all.
    """

    text: str
    ends: tuple[tuple[str, float], ...]
    is_either: bool = False

    def margin(self, value: float) -> float:
        """Distance to the nearest limit, in the stat's unit; negative where the value fails. 0 lies on a limit.

        `x >= 2 and x <= 5`: 2.5 → 0.5, 7 → -2. `x <= 2 or x >= 5`: 3 → -1.
        """
        inside = [value - limit if sign in (">", ">=") else limit - value for sign, limit in self.ends]
        return max(inside) if self.is_either else min(inside)


def read_bounds(text: str) -> dict[str, Bounds]:
    """Stat → its bounds, from `a >= 1 and b <= 2 and b > 0`. What is no bound is left out."""
    ends: dict[str, list[tuple[str, float]]] = {}
    words: dict[str, list[str]] = {}
    for stat, sign, limit in _END.findall(text):
        if (number := _limit(limit)) is not None:
            ends.setdefault(stat, []).append((sign, number))
            words.setdefault(stat, []).append(f"{stat} {sign} {limit}")
    either = {stat for stat, said in words.items() if " or ".join(said) in text and len(said) > 1}
    return {
        stat: Bounds((" or " if stat in either else " and ").join(words[stat]), tuple(ends[stat]), stat in either)
        for stat in words
    }


_VIDEO_CONTENT = "CASE WHEN field <> '' THEN content_hash END AS content_hash"
"""Of rows about samples themselves there is no video to count."""


def _limit(text: str) -> float | None:
    """A limit as a number; None where it is none, or one of Data-Juicer's words for "no limit"."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < NO_LIMIT else None


# --- explaining one video or sample


@dataclass(frozen=True)
class Number:
    """What one step's table says of one video, or of the sample itself (`field` and `path` are empty then): its number,
    and how far that is from the step's bounds.

    bound, margin: empty and None where the bounds of these verdicts are not known (see `Decision.bounds_from`).
    """

    step: str
    operator: str
    measure_id: str
    stat: str
    field: str
    position: int
    path: str
    value: float | None
    status: str
    reason: str
    bound: str = ""
    margin: float | None = None


@dataclass(frozen=True)
class Exported:
    """One file that has the sample. is_current: whether it was written after the verdict."""

    path: str
    section: str
    is_current: bool


@dataclass(frozen=True)
class Decision:
    """The verdict on one sample under one recipe, the numbers behind it, and where the sample went.

    bounds_from: path of the manifest that says what the bounds were; empty where none does that is as new as the
    verdict: then only the bound that decided is known. in_favour_of: id of the sample that stays in its place.
    """

    recipe: str
    shard: str
    sample_id: str
    outcome: str
    step: str
    stat: str
    values: tuple[float | None, ...]
    bound: str
    status: str
    reason: str
    run_id: str
    created_at: str
    numbers: tuple[Number, ...]
    exported: tuple[Exported, ...]
    bounds_from: str
    in_favour_of: str = ""


@dataclass(frozen=True)
class Origin:
    """One hop back: the sample that a mapper made this one of. version, params: of the mapper; None where nobody wrote
    them down. products: what it holds of that sample's videos (columns of view `products`)."""

    recipe: str
    shard: str
    sample_id: str
    parent_recipe: str
    parent_id: str
    made_by: str
    measure_id: str
    mapper: str
    version: int | None
    params: str | None
    products: tuple[Record, ...]


@dataclass(frozen=True)
class Story:
    """Everything known of a video or sample.

    asked: as typed. found_as: `sample`, `hash`, `path` or `product` (a picture, say, that no sample lists as a video).
    contents: content hashes. copies: one record per place that lists one of them (columns of view `videos`). samples:
    those asked about, with `status` and `reason` of their lines.
    measures: one record per number ever measured (columns of `facts_log`, and `version` and `params`), newest first.
    probes: what the videos are (columns of view `probes`), of those that a pass has opened.
    origins: hops back to the dataset, of each sample that a mapper made, nearest first; decisions are on all of them.
    descendants: samples that mappers made of those asked about, of `recipe, shard, sample_id, parent_id, made_by,
    products, status, outcome`, stage by stage.
    """

    asked: str
    found_as: str
    contents: tuple[str, ...]
    samples: tuple[Record, ...]
    copies: tuple[Record, ...]
    measures: tuple[Record, ...]
    decisions: tuple[Decision, ...]
    probes: tuple[Record, ...] = ()
    origins: tuple[Origin, ...] = ()
    descendants: tuple[Record, ...] = ()


def explain(root: Path, asked: str, *, recipe: str = "") -> Story:
    """Everything known of one video or sample.

    asked: a sample id; a content hash, or the first digits of one; or a path, as the manifest spells it, absolute, or
    relative to the working directory. A file under a new name is known by its bytes.
    recipe: look at this one alone. Raises `RecipeError` for what is not known, `StoreError` for a damaged file.
    """
    with _asking(root) as ask:
        recipes = _recipes(root, recipe)
        found_as, samples, copies = ask.find(asked, recipes)
        contents = tuple(dict.fromkeys(copy["content_hash"] for copy in copies if copy["content_hash"]))
        if found_as != "hash":
            for content in contents:
                copies = [*copies, *ask.places_of("content_hash", content, recipes)]
            copies = _unique(copies)
        wanted = _unique(samples or copies, ("recipe", "shard", "sample_id"))
        origins = ask.origins(wanted)
        ancestors = [{"recipe": one.parent_recipe, "shard": one.shard, "sample_id": one.parent_id} for one in origins]
        return Story(
            asked=asked,
            found_as=found_as,
            contents=contents,
            samples=tuple(samples),
            copies=tuple(copies),
            measures=tuple(ask.facts(contents)),
            decisions=tuple(ask.decisions(_unique([*wanted, *ancestors], ("recipe", "shard", "sample_id")))),
            probes=tuple(ask.probes(contents)),
            origins=tuple(origins),
            descendants=tuple(ask.descendants(wanted)),
        )


def _unique(records: Iterable[Record], names: Sequence[str] = ()) -> list[Record]:
    """Records that differ in these columns, or in any; the first of each."""
    return list({json.dumps([one[name] for name in names or one]): one for one in records}.values())


# --- the blast radius


@dataclass(frozen=True)
class Affected:
    """A shard, and how many of its samples are meant."""

    recipe: str
    shard: str
    samples: int


@dataclass(frozen=True)
class Radius:
    """What rests on something. videos, samples: how many.

    measures: records of `operator, measure_id, version, params, device, samples`. runs: of `run_id, videos`, those
    that measured the numbers. first_samples: of `recipe, shard, sample_id, outcome`. exports: of `recipe, path, shards`
    (how many of the shards are in it). Where a run was asked for, tables: how many lie there as it left them, and
    run_id: its whole id.
    """

    what: str
    videos: int
    samples: int
    shards: tuple[Affected, ...]
    measures: tuple[Record, ...]
    runs: tuple[Record, ...]
    exports: tuple[Record, ...]
    first_samples: tuple[Record, ...]
    tables: int = 0
    notes: tuple[str, ...] = ()
    run_id: str = ""

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes, sorted."""
        return tuple(sorted({one.recipe for one in self.shards}))


@dataclass(frozen=True)
class Question:
    """What to find the blast radius of: exactly one of the fields, and `version` only beside `operator`.

    measure_id, run_id, video: whole, or the first digits. export: the path of one of its files.
    """

    measure_id: str = ""
    operator: str = ""
    version: int | None = None
    run_id: str = ""
    export: str = ""
    video: str = ""


def blast_radius(root: Path, question: Question, *, most_samples: int | None = FIRST_SAMPLES) -> Radius:
    """What rests on a measure, an operator, a run, or a video; or what an export rests on.

    most_samples: how many to name; None for all. Raises `RecipeError` for what is not known.
    """
    with _asking(root) as ask:
        what, tables, notes = ask.collect(question)
        samples, videos = ask.one(
            "SELECT count(DISTINCT (recipe, sample_id)), count(DISTINCT content_hash) FROM resting"
        )
        return Radius(
            what=what,
            videos=videos,
            samples=samples,
            shards=tuple(ask.shards()),
            measures=tuple(ask.measures_behind()),
            runs=tuple(ask.runs_behind()),
            exports=tuple(ask.exports_reached()),
            first_samples=tuple(ask.samples_named(most_samples)),
            tables=tables,
            notes=notes,
            run_id=what.removeprefix("run ") if question.run_id else "",
        )


def affected_shards(root: Path, question: Question) -> list[Affected]:
    """The shards whose tables rest on something: what a rerun has to materialize. Sorted by recipe and shard.

    Raises `RecipeError` for what is not known.
    """
    with _asking(root) as ask:
        ask.collect(question)
        return ask.shards()


def undecided_shards(root: Path, recipe: str, statuses: Collection[str]) -> dict[str, int]:
    """Shards of a recipe that have samples undecided for one of these reasons, and how many. Empty where nothing was
    decided yet. Raises `StoreError` for a damaged file."""
    if not (root / "tables" / recipe / "verdicts").is_dir():
        return {}
    with _asking(root) as ask:
        wanted = ", ".join(map(index.literal, statuses)) or "NULL"
        found = ask.records(
            f"SELECT shard, count(*) AS samples FROM {ask.select('verdicts', [f'tables/{recipe}/verdicts/*.parquet'])} "
            f"WHERE outcome = 'undecided' AND status IN ({wanted}) GROUP BY ALL ORDER BY ALL"
        )
    return {row["shard"]: row["samples"] for row in found}


# --- asking


@contextmanager
def _asking(root: Path) -> Iterator[_Asking]:
    """Ask a store. A damaged file becomes a `StoreError`; a store that holds nothing, a `RecipeError`."""
    import duckdb

    if not any((root / folder).is_dir() for folder in ("tables", "measures")):
        raise nothing_there(root)
    try:
        with index.opened(root) as connection:
            yield _Asking(root, connection)
    except duckdb.Error as error:
        raise unreadable(error) from error


def nothing_there(root: Path) -> RecipeError:
    """The error for a store that nothing was written to."""
    return RecipeError(
        f"there is no store at {root}",
        allowed="a store that a run has written to",
        try_="run it in the project's folder, set DJ_ASSETS_STORE, or run a recipe first: dj-assets process RECIPE",
        file="command line",
    )


def unreadable(error: Exception) -> StoreError:
    """The error for a query that failed for a file's bytes."""
    return StoreError(
        f"the store cannot be asked: {' '.join(str(error).split())}",
        allowed="record files that are whole",
        try_="where it names a file: materialize that table again, which replaces it",
    )


class _Asking:
    """One connection, and the questions put to it."""

    def __init__(self, root: Path, connection: Any) -> None:
        self.root = root
        self._connection = connection

    def records(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Record]:
        """Rows by column name, texts as they were before the store escaped them."""
        cursor = self._connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, map(_restored, row), strict=True)) for row in cursor.fetchall()]

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The only row."""
        return self._connection.execute(sql, list(parameters)).fetchone()

    def select(self, name: str, patterns: Sequence[str] | None = None) -> str:
        """A view's SELECT in parentheses, over some of its files."""
        return f"({index.select(self.root, name, patterns)})"

    # --- one video or sample

    def find(self, asked: str, recipes: Sequence[str]) -> tuple[str, list[Record], list[Record]]:
        """How `asked` was understood, the sample lines of that id, and the places that list the video. The cheap
        questions come first, and none is put whose answer is known: a sample's id has a colon."""
        if ":" in asked and (lines := self._sample_lines(asked, recipes)):
            shards = [(line["recipe"], line["shard"]) for line in lines]
            return "sample", lines, self._places(shards, "sample_id = ?", [storable(asked)])
        if _HASH.fullmatch(asked) and (found := self.places_of("content_hash", asked, recipes, starts=True)):
            self._refuse_ambiguous(asked, {copy["content_hash"] for copy in found})
            return "hash", [], found
        path = str(Path(asked).expanduser().absolute())
        if found := self.places_of("path", storable(path), recipes):
            return "path", [], found
        videos = self.select("listed", [f"tables/{recipe}/samples/*.parquet" for recipe in recipes])
        if found := self.records(f"SELECT * FROM {videos} WHERE given = ? ORDER BY ALL", [storable(asked)]):
            return "path", [], found
        if (content := _content_of(path)) and (found := self.places_of("content_hash", content, recipes)):
            return "path", [], found
        if lines := self._holders(path, recipes):
            shards = [(line["recipe"], line["shard"]) for line in lines]
            ids = [line["sample_id"] for line in lines]
            return "product", lines, self._places(shards, "sample_id IN (SELECT unnest(?))", [ids])
        raise self._unknown(asked, recipes)

    def _sample_lines(self, sample_id: str, recipes: Sequence[str]) -> list[Record]:
        samples = self.select("samples", [f"tables/{recipe}/samples/*.parquet" for recipe in recipes])
        return self.records(
            f"SELECT recipe, shard, sample_id, status, reason FROM {samples} WHERE sample_id = ? ORDER BY ALL",
            [storable(sample_id)],
        )

    def _holders(self, path: str, recipes: Sequence[str]) -> list[Record]:
        """The samples that hold a product that is no video, a picture say."""
        samples = self.select("samples", [f"tables/{recipe}/samples/*.parquet" for recipe in recipes])
        return self.records(
            f"SELECT recipe, shard, sample_id, status, reason FROM {samples} "
            "WHERE len(list_filter(made, lambda one: one.path = ?)) > 0 ORDER BY ALL",
            [storable(path)],
        )

    def origins(self, samples: Iterable[Record]) -> list[Origin]:
        """Hops back from these samples, each of one sample, stage by stage."""
        found: list[Origin] = []
        asked = list(samples)
        while asked:
            hops = [hop for shard in _by_shard(asked).items() for hop in self._made(*shard)]
            found += [hop for hop in hops if hop not in found]
            asked = [{"recipe": hop.parent_recipe, "shard": hop.shard, "sample_id": hop.parent_id} for hop in hops]
            asked = _unique(asked)
        return found

    def _made(self, shard: tuple[str, str], sample_ids: Sequence[str]) -> Iterator[Origin]:
        """Of these samples of one shard, those that a mapper made."""
        samples = self.select("samples", [f"tables/{shard[0]}/samples/{shard[1]}.parquet"])
        rows = self.records(
            "SELECT s.recipe, s.shard, s.sample_id, s.parent_recipe, s.parent_id, s.made_by, s.measure_id, "
            "m.operator AS mapper, m.version, m.params, s.made AS products "
            f"FROM {samples} s LEFT JOIN {self.select('measures')} m USING (measure_id) "
            "WHERE s.parent_id <> '' AND s.sample_id IN (SELECT unnest(?)) ORDER BY s.line_number, s.sample_id",
            [[storable(one) for one in sample_ids]],
        )
        for row in rows:
            products = tuple({name: _restored(value) for name, value in one.items()} for one in row["products"] or ())
            yield Origin(**{**row, "mapper": row["mapper"] or row["made_by"], "products": products})

    def descendants(self, samples: Iterable[Record]) -> list[Record]:
        """What mappers made of these samples, stage by stage, with its verdict."""
        found: list[Record] = []
        asked = list(samples)
        while asked:
            made = [row for shard in _by_shard(asked).items() for row in self._made_of(*shard)]
            found += made
            asked = made
        return found

    def _made_of(self, shard: tuple[str, str], sample_ids: Sequence[str]) -> list[Record]:
        stages = [f"tables/{name}/samples/{shard[1]}.parquet" for name in _later_stages(self.root, shard[0])]
        verdicts = [pattern.replace("/samples/", "/verdicts/") for pattern in stages]
        return self.records(
            "SELECT s.recipe, s.shard, s.sample_id, s.parent_id, s.made_by, len(s.made) AS products, s.status, "
            f"v.outcome FROM {self.select('samples', stages)} s LEFT JOIN {self.select('verdicts', verdicts)} v "
            "USING (recipe, shard, sample_id) WHERE s.parent_recipe = ? AND s.parent_id IN (SELECT unnest(?)) "
            "ORDER BY s.line_number, s.sample_id",
            [shard[0], [storable(one) for one in sample_ids]],
        )

    def places_of(self, column: str, value: str, recipes: Sequence[str], *, starts: bool = False) -> list[Record]:
        """Places that list a video, by `content_hash` or `path`, whole or by how it starts."""
        condition = f"starts_with({column}, ?)" if starts else f"{column} = ?"
        shards = [shard for recipe in recipes for shard in self._shards_with(recipe, condition, value)]
        return self._places(shards, condition, [value])

    def _shards_with(self, recipe: str, condition: str, value: str) -> list[tuple[str, str]]:
        """Shards of a recipe that have such a video; and those that cannot tell, since nothing was measured there yet.

        Told by the tables of one step, of which each has every video: there a hash is a column, while in the samples it
        is inside a list, and a million lists take seconds.
        """
        shards = {path.stem for path in self.root.glob(f"tables/{recipe}/samples/*.parquet")}
        measured = {
            folder.name: {path.stem for path in folder.glob("*.parquet")}
            for folder in sorted(self.root.glob(f"tables/{recipe}/stats/*/"))
        }
        step = max(measured, key=lambda name: len(measured[name]), default="")
        if not step:
            return [(recipe, shard) for shard in sorted(shards)]
        found = self._files_with(f"tables/{recipe}/stats/{step}/*.parquet", condition, [value])
        return [(recipe, shard) for shard in sorted((shards - measured[step]) | {path.stem for path in found})]

    def _files_with(self, pattern: str, condition: str, parameters: Sequence[Any] = ()) -> list[Path]:
        """Record files of one table with such a row. Reads that one column, as it stands in every version of them."""
        pattern = index.literal_pattern(self.root, pattern)
        sql = f"SELECT DISTINCT filename FROM read_parquet({pattern}, filename = true, hive_partitioning = false)"
        return [
            Path(name) for (name,) in self._connection.execute(f"{sql} WHERE {condition}", list(parameters)).fetchall()
        ]

    def _places(self, shards: Iterable[tuple[str, str]], condition: str, parameters: Sequence[Any]) -> list[Record]:
        videos = self.select("listed", [f"tables/{recipe}/samples/{shard}.parquet" for recipe, shard in shards])
        return self.records(f"SELECT * FROM {videos} WHERE {condition} ORDER BY ALL", parameters)

    def _refuse_ambiguous(self, asked: str, found: Collection[str]) -> None:
        if len(found) > 1:
            raise RecipeError(
                f"{len(found)} contents begin with {asked!r}",
                allowed=f"enough digits to mean one: {_some(found)}",
                try_="give some more digits",
                file="command line",
            )

    def _unknown(self, asked: str, recipes: Sequence[str]) -> RecipeError:
        """Nothing has that name. The nearest sample id or path is looked for by the database, not in Python."""
        samples = self.select("samples", [f"tables/{recipe}/samples/*.parquet" for recipe in recipes])
        videos = self.select("listed", [f"tables/{recipe}/samples/*.parquet" for recipe in recipes])
        near = (
            self.records(
                f"SELECT name FROM (SELECT sample_id AS name FROM {samples} UNION SELECT given FROM {videos}) "
                "WHERE abs(length(name) - length($asked)) <= 3 AND levenshtein(name, $asked) <= 3 "
                "ORDER BY levenshtein(name, $asked), name LIMIT 2",
                {"asked": storable(asked)},
            )
            if asked
            else []
        )
        return RecipeError(
            f"nothing is known of {asked!r}" + (f" in recipe {recipes[0]}" if len(recipes) == 1 else ""),
            allowed=f"a sample id (DROP:LINE), a video's path, or {LEAST_PREFIX_DIGITS} or more digits of its hash",
            try_=f"did you mean {' or '.join(one['name'] for one in near)}?"
            if near
            else 'dj-assets sql "SELECT sample_id, given, content_hash FROM videos" lists them',
            file="command line",
        )

    def facts(self, contents: Sequence[str]) -> list[Record]:
        """Every number ever measured of these contents, with what its measure id stands for. Newest first."""
        if not contents:
            return []
        if next(self.root.glob("measures/*/*/*.parquet"), None) is None:
            return []
        # Opened without a schema, and for one column, thousands of files take half as long. Literals, as a list of
        # parameters would keep DuckDB from skipping what a row group's filter of hashes rules out.
        wanted = f"content_hash IN ({', '.join(map(index.literal, contents))})"
        found = self._files_with("measures/*/*/*.parquet", wanted)
        facts = self.select("facts_log", sorted({path.relative_to(self.root).as_posix() for path in found}))
        return self.records(
            f"SELECT f.* EXCLUDE (window_details), m.version, m.params, m.device AS measure_device "
            f"FROM (SELECT DISTINCT * FROM {facts} WHERE {wanted}) f "
            f"LEFT JOIN {self.select('measures')} m USING (operator, measure_id) "
            "ORDER BY operator, stat, measured_at DESC, measure_id"
        )

    def probes(self, contents: Sequence[str]) -> list[Record]:
        """What these contents are, by their packets."""
        wanted = ", ".join(map(index.literal, contents)) or "NULL"
        return self.records(f"SELECT * FROM {self.select('probes')} WHERE content_hash IN ({wanted}) ORDER BY ALL")

    def decisions(self, samples: Iterable[Record]) -> Iterator[Decision]:
        for sample in samples:
            place = (sample["recipe"], sample["shard"], sample["sample_id"])
            manifests = _Manifests(self.root, sample["recipe"], sample["shard"])
            for verdict in self._verdicts(*place):
                yield self._decision(verdict, self._numbers(*place), manifests)

    def _verdicts(self, recipe: str, shard: str, sample_id: str) -> list[Record]:
        verdicts = self.select("verdicts", [f"tables/{recipe}/verdicts/{shard}.parquet"])
        return self.records(f"SELECT * FROM {verdicts} WHERE sample_id = ?", [storable(sample_id)])

    def _numbers(self, recipe: str, shard: str, sample_id: str) -> list[Record]:
        # Named one by one: a glob with a * for the step would have DuckDB list every shard of every step.
        steps = sorted(self.root.glob(f"tables/{recipe}/stats/*/"))
        if not steps:  # selectors measure nothing
            return []
        stats = self.select("stats", [f"tables/{recipe}/stats/{step.name}/{shard}.parquet" for step in steps])
        return self.records(f"SELECT * FROM {stats} WHERE sample_id = ?", [storable(sample_id)])

    def _decision(self, verdict: Record, numbers: Sequence[Record], manifests: _Manifests) -> Decision:
        bounds = manifests.bounds()
        if verdict["bound"]:
            bounds.setdefault(verdict["step"], read_bounds(verdict["bound"]))
        shown = [_number(one, bounds.get(one["step"], {}).get(one["stat"])) for one in numbers]
        order = list(bounds)
        shown.sort(key=lambda one: order.index(one.step) if one.step in order else len(order))
        provenance = manifests.verdict_provenance()
        return Decision(
            recipe=verdict["recipe"],
            shard=verdict["shard"],
            sample_id=verdict["sample_id"],
            outcome=verdict["outcome"],
            step=verdict["step"],
            stat=verdict["stat"],
            values=tuple(verdict["values"] or ()),
            bound=verdict["bound"],
            status=verdict["status"],
            reason=verdict["reason"],
            in_favour_of=verdict["in_favour_of"],
            run_id=provenance.run_id,
            created_at=provenance.created_at,
            numbers=tuple(shown),
            exported=tuple(manifests.exported(verdict["outcome"])),
            bounds_from=manifests.bounds_from(),
        )

    # --- the blast radius

    def collect(self, question: Question) -> tuple[str, int, tuple[str, ...]]:
        """Gather what rests on it in the temporary table `resting` (recipe, shard, sample_id, content_hash,
        measure_id). Returns what was asked for in words, tables that a run wrote, and notes."""
        if question.operator:
            return self._collect_operator(question.operator, question.version)
        if question.measure_id:
            return self._collect_measure(question.measure_id)
        if question.run_id:
            return self._collect_run(question.run_id)
        if question.export:
            return self._collect_export(question.export)
        return self._collect_video(question.video)

    def _collect_measure(self, asked: str) -> tuple[str, int, tuple[str, ...]]:
        known = {folder.name: folder.parent.name for folder in sorted(self.root.glob("measures/*/*/"))}
        known.pop(probes.MEASURE_ID, None)
        found = [measure_id for measure_id in known if asked and measure_id.startswith(asked)]
        if len(found) != 1:
            raise _unknown_name(
                "measure", asked, known, found, 'dj-assets sql "FROM measures" tells what each of them is'
            )
        self._rest_on_measures(known[found[0]], found)
        return f"measure {found[0]} of {known[found[0]]}", 0, ()

    def _collect_operator(self, operator: str, version: int | None) -> tuple[str, int, tuple[str, ...]]:
        known = [folder.name for folder in sorted(self.root.glob("measures/*/")) if folder.name != probes.OPERATOR]
        if operator not in known:
            raise _unknown_name("operator", operator, known, [], "dj-assets check --operators lists all there are")
        ids = [folder.name for folder in sorted(self.root.glob(f"measures/{operator}/*/"))]
        notes: tuple[str, ...] = ()
        if version is not None:
            versions = {
                one["measure_id"]: one["version"]
                for one in self.records(
                    f"SELECT measure_id, version FROM {self.select('measures')} WHERE operator = ?", [operator]
                )
            }
            if version not in versions.values():
                said = sorted({str(one) for one in versions.values()})
                raise _unknown_name(f"version of {operator}", str(version), said, [], "leave --version out for all")
            if undescribed := len([one for one in ids if one not in versions]):
                notes = (f"{undescribed} older measures do not say their version and are left out",)
            ids = [one for one in ids if versions.get(one) == version]
        self._rest_on_measures(operator, ids)
        return f"{operator}" + (f" version {version}" if version is not None else ""), 0, notes

    def _rest_on_measures(self, operator: str, measure_ids: Sequence[str]) -> None:
        # A step's key begins with its operator's name, and other tables need not be opened.
        stats = self.select("stats", [f"tables/*/stats/{files.part(operator, what='operator')}*/*.parquet"])
        self._keep_resting(
            f"SELECT recipe, shard, sample_id, {_VIDEO_CONTENT}, measure_id FROM {stats} "
            "WHERE measure_id IN (SELECT unnest(?)) AND content_hash <> '' AND status NOT IN ('skipped', 'malformed') "
            f"UNION ALL SELECT recipe, shard, sample_id, unnest(made).parent_hash, measure_id "
            f"FROM {self._made_samples()} WHERE measure_id IN (SELECT unnest(?))",
            [list(measure_ids), list(measure_ids)],
        )

    def _collect_run(self, asked: str) -> tuple[str, int, tuple[str, ...]]:
        facts, ledger = self.select("facts_log"), self.select("materializations")
        both = f"SELECT run_id FROM {facts} UNION SELECT run_id FROM {ledger}"
        runs = [row["run_id"] for row in self.records(f"FROM ({both}) WHERE run_id <> ''")]
        found = [run for run in runs if asked and run.startswith(asked)]
        if len(found) != 1:
            hint = 'dj-assets sql "SELECT DISTINCT run_id, created_at FROM materializations" lists them'
            raise _unknown_name("run", asked, runs, found, hint)
        self._keep_resting(
            f"SELECT recipe, shard, sample_id, content_hash, measure_id FROM {self.select('stats')} s SEMI JOIN "
            f"(SELECT content_hash, measure_id, stat, measured_at FROM {facts} WHERE run_id = ?) f "
            "USING (content_hash, measure_id, stat, measured_at)",
            found,
        )
        (tables,) = self.one(
            f"SELECT count(*) FROM (SELECT path, arg_max(run_id, created_at) AS last_run FROM {ledger} GROUP BY path) "
            "WHERE last_run = ?",
            found,
        )
        return f"run {found[0]}", tables, ()

    def _collect_export(self, asked: str) -> tuple[str, int, tuple[str, ...]]:
        wanted = str(Path(asked).expanduser().absolute())
        exports = self.records(f"SELECT recipe, path, shards, keeps_undecided, files FROM {self.select('exports')}")
        found = [one for one in exports if wanted in _export_files(one)]
        if not found:
            known = [one["path"] for one in exports]
            raise _unknown_name(
                "export", asked, known, [], 'dj-assets sql "SELECT recipe, path FROM exports" lists them'
            )
        export = found[0]
        recipe, shards = export["recipe"], export["shards"]
        stats = self.select("stats", [f"tables/{recipe}/stats/*/*.parquet"])
        verdicts = self.select("verdicts", [f"tables/{recipe}/verdicts/*.parquet"])
        outcomes = ["kept", "undecided"] if export["keeps_undecided"] else ["kept"]
        self._keep_resting(
            f"SELECT recipe, shard, sample_id, {_VIDEO_CONTENT}, measure_id FROM {stats} s "
            f"SEMI JOIN (SELECT shard, sample_id FROM {verdicts} "
            "WHERE outcome IN (SELECT unnest(?)) AND shard IN (SELECT unnest(?))) v USING (shard, sample_id)",
            [outcomes, shards],
        )
        self._add_ancestors(recipe)
        return f"export {export['path']} of {recipe}", 0, ("counted are the samples that it keeps",)

    def _collect_video(self, asked: str) -> tuple[str, int, tuple[str, ...]]:
        recipes = _recipes(self.root, "")
        _, _, copies = self.find(asked, recipes)
        contents = sorted({copy["content_hash"] for copy in copies if copy["content_hash"]})
        self._keep_resting(
            f"SELECT recipe, shard, sample_id, content_hash, measure_id FROM {self.select('stats')} "
            "WHERE content_hash IN (SELECT unnest(?)) AND content_hash <> '' AND status <> 'skipped' UNION ALL BY NAME "
            f"SELECT recipe, shard, sample_id, content_hash FROM {self.select('listed')} "
            "WHERE content_hash IN (SELECT unnest(?))",
            [contents, contents],
        )
        return f"video {_some(contents) or asked}", 0, ()

    def _keep_resting(self, sql: str, parameters: Sequence[Any]) -> None:
        """Begin the table, and follow mappers: what was made of a sample rests on what that one rests on."""
        self._connection.execute(f"CREATE TEMP TABLE resting AS {sql}", list(parameters))
        made = self._made_samples()
        level = "SELECT DISTINCT recipe, shard, sample_id, measure_id FROM resting"
        for _ in _staged(self.root):
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE level AS {level}")
            level = (
                "SELECT m.recipe, m.shard, m.sample_id, level.measure_id FROM "
                f"(SELECT recipe, shard, sample_id, parent_recipe, parent_id FROM {made}) m JOIN level "
                "ON m.shard = level.shard AND m.parent_recipe = level.recipe AND m.parent_id = level.sample_id"
            )
            if not self.one(f"SELECT count(*) FROM ({level})")[0]:
                return
            self._connection.execute(f"INSERT INTO resting BY NAME {level}")
            level = f"SELECT DISTINCT * FROM ({level})"

    def _add_ancestors(self, recipe: str) -> None:
        """Of samples that mappers made, what their own parents rest on, back to the dataset."""
        for stage in reversed(stages_of(self.root, recipe)[1:]):
            made = self.select("samples", [f"tables/{stage}/samples/*.parquet"])
            before = self.records(f"SELECT DISTINCT parent_recipe FROM {made} WHERE parent_recipe <> ''")
            for one in before:
                stats = self.select("stats", [f"tables/{one['parent_recipe']}/stats/*/*.parquet"])
                self._connection.execute(
                    "CREATE OR REPLACE TEMP TABLE parents AS SELECT DISTINCT m.parent_recipe AS recipe, m.shard, "
                    f"m.parent_id AS sample_id, m.measure_id, m.made FROM {made} m SEMI JOIN resting "
                    "USING (recipe, shard, sample_id) WHERE m.parent_recipe = ?",
                    [one["parent_recipe"]],
                )
                self._connection.execute(
                    "INSERT INTO resting BY NAME SELECT recipe, shard, sample_id, unnest(made).parent_hash AS "
                    "content_hash, measure_id FROM parents UNION ALL BY NAME SELECT s.recipe, s.shard, s.sample_id, "
                    f"s.content_hash, s.measure_id FROM {stats} s SEMI JOIN parents USING (recipe, shard, sample_id)"
                )

    def _made_samples(self) -> str:
        """The samples that mappers made: those of recipes with stages, since no other has any."""
        return self.select("samples", [f"tables/{name}/samples/*.parquet" for name in _staged(self.root)])

    def shards(self) -> list[Affected]:
        """The shards in `resting`."""
        found = self.records(
            "SELECT recipe, shard, count(DISTINCT sample_id) AS samples FROM resting GROUP BY ALL ORDER BY ALL"
        )
        return [Affected(**one) for one in found]

    def measures_behind(self) -> list[Record]:
        return self.records(
            "SELECT m.operator, r.measure_id, m.version, m.params, m.device, r.samples "
            "FROM (SELECT measure_id, count(DISTINCT (recipe, sample_id)) AS samples FROM resting "
            f"WHERE measure_id IS NOT NULL GROUP BY ALL) r LEFT JOIN {self.select('measures')} m USING (measure_id) "
            "ORDER BY ALL"
        )

    def runs_behind(self) -> list[Record]:
        measured = self.records("SELECT DISTINCT measure_id FROM resting WHERE measure_id IS NOT NULL")
        facts = self.select("facts_log", [f"measures/*/{one['measure_id']}/*.parquet" for one in measured])
        return self.records(
            f"SELECT run_id, count(DISTINCT content_hash) AS videos FROM {facts} f "
            "SEMI JOIN resting USING (content_hash, measure_id) GROUP BY ALL ORDER BY videos DESC, run_id"
        )

    def exports_reached(self) -> list[Record]:
        return self.records(
            "SELECT e.recipe, e.path, count(DISTINCT e.shard) AS shards "
            f"FROM (SELECT recipe, path, unnest(shards) AS shard FROM {self.select('exports')}) e "
            "SEMI JOIN resting USING (recipe, shard) GROUP BY ALL ORDER BY ALL"
        )

    def samples_named(self, most: int | None) -> list[Record]:
        limit = "" if most is None else f"LIMIT {most}"
        return self.records(
            "SELECT r.recipe, r.shard, r.sample_id, v.outcome FROM "
            f"(SELECT DISTINCT recipe, shard, sample_id FROM resting ORDER BY ALL {limit}) r "
            f"LEFT JOIN {self.select('verdicts')} v USING (recipe, shard, sample_id) ORDER BY ALL"
        )


class _Manifests:
    """The manifests of one recipe's exports that hold a shard, beside the shard's verdicts."""

    def __init__(self, root: Path, recipe: str, shard: str) -> None:
        self._verdicts = root / "tables" / recipe / "verdicts" / f"{shard}.parquet"
        self._held = [
            (path, manifest)
            for path in sorted(root.glob(f"export/{recipe}/*.manifest.json"), key=_changed_at, reverse=True)
            if (manifest := _manifest(path)) and shard in {one["shard"] for one in manifest["input"]["shards"]}
        ]

    def _is_current(self, path: Path) -> bool:
        """An export is written after the verdicts that it is made of."""
        return _changed_at(path) >= _changed_at(self._verdicts)

    def bounds(self) -> dict[str, dict[str, Bounds]]:
        """Step key → stat → bounds, by the newest manifest; empty where the verdicts are newer."""
        return next(
            (
                {step["key"]: read_bounds(step["keeps"]) for step in manifest["steps"]}
                for path, manifest in self._held
                if self._is_current(path)
            ),
            {},
        )

    def bounds_from(self) -> str:
        """Path of the export whose manifest `bounds` reads; empty where none does."""
        return next((manifest["export_path"] for path, manifest in self._held if self._is_current(path)), "")

    def verdict_provenance(self) -> Provenance:
        """Where the verdicts come from."""
        return files.read_provenance(self._verdicts)

    def exported(self, outcome: str) -> Iterator[Exported]:
        """The file that a sample of this outcome is in, per export."""
        for path, manifest in self._held:
            keeps = manifest["recipe"]["content"]["dj_assets"]["on_undecided"] == "keep"
            is_kept = outcome == "kept" or (outcome == "undecided" and keeps)
            main = Path(manifest["export_path"])
            dropped = {file["name"]: str(main.with_name(file["file"])) for file in manifest["files"]}["dropped"]
            yield Exported(str(main) if is_kept else dropped, "kept" if is_kept else "dropped", self._is_current(path))


def _changed_at(path: Path) -> int:
    """ns since 1970."""
    return path.stat().st_mtime_ns


def _manifest(path: Path) -> Record | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read and is left out: %s", path, error)
        return None
    return found if isinstance(found, dict) else None


def _restored(value: Any) -> Any:
    return restored(value) if isinstance(value, str) else value


def _number(row: Record, bounds: Bounds | None) -> Number:
    names = ("step", "operator", "measure_id", "stat", "field", "position", "path", "value", "status", "reason")
    margin = bounds.margin(row["value"]) if bounds and row["value"] is not None else None
    return Number(**{name: row[name] for name in names}, bound=bounds.text if bounds else "", margin=margin)


def _by_shard(samples: Iterable[Record]) -> dict[tuple[str, str], list[str]]:
    """(recipe, shard) → sample ids."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in samples:
        found.setdefault((one["recipe"], one["shard"]), []).append(one["sample_id"])
    return found


_STAGE = re.compile(r"(.+)__(\d+)")


def stages_of(root: Path, recipe: str) -> list[str]:
    """The recipe and the earlier stages of it that have tables: a mapper stands between each two."""
    numbered = [
        (int(match[2]), folder.name)
        for folder in root.glob(f"tables/{recipe}__*/")
        if (match := _STAGE.fullmatch(folder.name)) and match[1] == recipe
    ]
    return [*(name for _, name in sorted(numbered)), recipe]


def _staged(root: Path) -> list[str]:
    """Names of every stage that is made by a mapper: of all recipes with mappers, all but the first."""
    firsts = [folder.name for folder in sorted(root.glob("tables/*__1/"))]
    return [stage for first in firsts for stage in stages_of(root, first[: -len("__1")])[1:]]


def _later_stages(root: Path, stage: str) -> list[str]:
    """Names of the stages whose samples may have been made of this one's; none for one that ends its recipe."""
    match = _STAGE.fullmatch(stage)
    return stages_of(root, match[1]) if match else []


def _content_of(path: str) -> str:
    """The content hash of a file that lies there now, as `dj_assets.video` computes it; empty where none does."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=HASH_DIGITS // 2)).hexdigest()
    except (OSError, ValueError):
        return ""


def _recipes(root: Path, wanted: str) -> list[str]:
    """Recipes that have tables; the one that is wanted alone, given by its name or its file."""
    known = sorted(folder.name for folder in root.glob("tables/*/"))
    if not wanted:
        return known
    name = re.sub(r"[^A-Za-z0-9_]", "_", Path(wanted).stem if wanted.endswith((".yaml", ".yml")) else wanted)
    if name not in known:
        raise _unknown_name("recipe", wanted, known, [], "dj-assets process RECIPE runs one that has no tables yet")
    return stages_of(root, name)


def _unknown_name(noun: str, asked: str, known: Iterable[str], found: Sequence[str], hint: str) -> RecipeError:
    """What to say of a name that means nothing, or several things."""
    known = sorted(known)
    near = difflib.get_close_matches(asked, known, n=2)
    return RecipeError(
        f"{len(found)} {noun}s begin with {asked!r}" if found else f"there is no {noun} {asked!r} in the store",
        allowed=_some(found or known) or "none yet",
        try_="give some more digits" if found else f"did you mean {' or '.join(near)}?" if near else hint,
        file="command line",
    )


def _some(names: Collection[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
    return ", ".join(listed[:MOST_NAMES]) + more


def _export_files(export: Mapping[str, Any]) -> set[str]:
    """Every path by which people may name an export."""
    main = Path(export["path"])
    manifest = main.with_name(f"{main.stem}_manifest.json")
    return {str(main), str(manifest), *(str(main.with_name(file["file"])) for file in export["files"])}
