"""The verdicts of `decide`, for a whole store at once: one DuckDB query over every shard's tables.

    numbers   one line per row of a step's tables, with a code: 0 passes, 1 unknown, 2 fails
    answers   one line per sample, with a code per step. Kleene's logic is min and max of the codes:
              a subject (a video, or the sample itself) has the max over its ranges; a step the max (all) or the
              min (any) over its subjects
    decided   per sample the step that says it: the first with 2, else the first with 1, else none
    shown     for what is not kept: which number of that step to show, by which range

Samples are known by a hash meanwhile: where two had the same, their rows would be too many, which is an error and not
a verdict. Tables are read twice, the second time for the rows of deciding steps only; the alternative, a list per
sample of everything, needs several times the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dj_assets.decide import Summary
from dj_assets.plan import Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.store import index
from dj_assets.store.files import write_atomically
from dj_assets.store.index import literal
from dj_assets.store.rows import Verdict
from dj_assets.store.schemas import SAMPLES, STATS, VERDICTS, verdict_of
from dj_assets.store.store import Store

MEMORY_MB = 1024
"""What DuckDB may hold; beyond it, it works on disk."""

PASSES, UNKNOWN, FAILS = 0, 1, 2
STEPS_PER_WORD = 20
"""Three bits a step in 64."""

SKIPPED_REASON = "not measured while an earlier step dropped the sample: materialize stats/{step} again"


def verdicts(
    plan: Plan, store: Store, *, shards: Sequence[str] | None = None, memory_mb: int = MEMORY_MB
) -> list[Verdict]:
    """One verdict per sample in the store, by shard and line. shards: default all that have samples.

    As `decide.decide` for each shard, with its ValueErrors, where a video's position is its place among the videos of
    its field. Raises `duckdb.Error` where a table is damaged.
    """
    with _connected(memory_mb) as connection, _value_errors():
        found = connection.sql(_verdicts_sql(plan, store, shards)).to_arrow_table()
    return [verdict_of(record) for record in VERDICTS.unpack(found)]


def write_verdicts(
    plan: Plan, store: Store, path: Path, *, shards: Sequence[str] | None = None, memory_mb: int = MEMORY_MB
) -> Summary:
    """The same verdicts into one Parquet file, in bounded memory. Returns their counts."""
    with _connected(memory_mb) as connection:

        def write(temporary: Path) -> None:
            with _value_errors():
                _copy(connection, _verdicts_sql(plan, store, shards), temporary, "FORMAT parquet, COMPRESSION zstd")

        write_atomically(path, write)
        counts = connection.execute(
            f"SELECT outcome, step, status, count(*) FROM read_parquet({literal(str(path))}) GROUP BY ALL"
        ).fetchall()
    return _summary(plan, counts)


def write_kept(plan: Plan, store: Store, verdicts_path: Path, path: Path, *, memory_mb: int = MEMORY_MB) -> int:
    """The export list: one JSON line per sample that an export would hold (`sample_id`, `drop`, `line_number`).

    verdicts_path: of `write_verdicts`. Returns the number of lines.
    """
    keeps_undecided = plan.recipe.settings.on_undecided == "keep"
    # What is malformed, or was not made, has no record that could be kept.
    kept = "outcome = 'kept'" + (" OR (outcome = 'undecided' AND samples.status = 'ok')" if keeps_undecided else "")
    sql = (
        f'SELECT sample_id, "drop", line_number '
        f"FROM (SELECT shard, sample_id, outcome FROM read_parquet({literal(str(verdicts_path))})) "
        f"JOIN ({_samples_sql(plan, store)}) AS samples USING (shard, sample_id) WHERE {kept} "
        "ORDER BY shard, line_number"
    )
    with _connected(memory_mb) as connection:
        lines = 0

        def write(temporary: Path) -> None:
            nonlocal lines
            lines = _copy(connection, sql, temporary, "FORMAT json")

        write_atomically(path, write)
    return lines


@contextmanager
def _connected(memory_mb: int) -> Iterator[Any]:
    """A connection that may hold so much memory, and a folder for what does not fit."""
    import duckdb

    with TemporaryDirectory(prefix="dj-assets-") as spill:
        connection = duckdb.connect(
            config={"memory_limit": f"{memory_mb}MiB", "temp_directory": spill, "preserve_insertion_order": False}
        )
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def _value_errors() -> Iterator[None]:
    """What the query finds wrong with the tables, as `decide` says it."""
    import duckdb

    try:
        yield
    except duckdb.InvalidInputException as error:
        text = str(error)
        if FAULT not in text:
            raise
        raise ValueError(text.split(FAULT, 1)[1].splitlines()[0]) from None


FAULT = "fault in a table: "


def _copy(connection: Any, sql: str, path: Path, options: str) -> int:
    (count,) = connection.execute(f"COPY ({sql}) TO {literal(str(path))} ({options})").fetchone()
    return int(count)


def _summary(plan: Plan, counts: Sequence[tuple[str, str, str, int]]) -> Summary:
    dropped = {step.key: 0 for step in plan.steps}
    undecided: dict[str, int] = {}
    kept = 0
    for outcome, step, status, count in counts:
        if outcome == "kept":
            kept += count
        elif outcome == "dropped":
            dropped[step] += count
        else:
            undecided[status] = undecided.get(status, 0) + count
    total = kept + sum(dropped.values()) + sum(undecided.values())
    return Summary(total, kept, dropped, dict(sorted(undecided.items())))


# --- the query --------------------------------------------------------------------------------------------------------


def _verdicts_sql(plan: Plan, store: Store, shards: Sequence[str] | None) -> str:
    """SELECT of one verdict per sample, in the columns of `VERDICTS`. Raises ValueError where a step has no table."""
    steps = plan.steps
    if plan.whole_steps:
        raise ValueError(
            f"{plan.whole_steps[0].key} decides over the whole dataset: its verdicts are those of `settle`"
        )
    return f"""
WITH numbers AS NOT MATERIALIZED ({_numbers(plan, store, shards)}),
samples AS NOT MATERIALIZED (
    SELECT hash(shard, sample_id) AS key, shard, sample_id, line_number, status, reason, made_by, {_expected(steps)}
    FROM ({_samples_sql(plan, store)}) {_only(shards)}
),
answers AS NOT MATERIALIZED ({_answers(steps)}),
decided AS MATERIALIZED (
    SELECT key, shard, sample_id, line_number, status, reason, made_by,
        CASE WHEN status = 'ok' THEN {_deciding(steps)} END AS step,
        CASE WHEN status <> 'ok' THEN {UNKNOWN} ELSE {_checked(_worst(steps))} END AS code
    FROM samples LEFT JOIN answers USING (key)
),
chosen AS (
    SELECT numbers.*, decided.code AS verdict
    FROM numbers JOIN (SELECT key, step, code FROM decided WHERE step IS NOT NULL) AS decided USING (key, step)
),
videos AS (
    SELECT key, position, any_value(verdict) AS verdict, max(code) AS code,
        min(range) FILTER (code = {FAILS}) AS failing,
        arg_min({{'range': range, 'status': status, 'reason': reason}}, range) FILTER (code = {UNKNOWN}) AS unknown,
        list(value ORDER BY range) AS by_range
    FROM chosen GROUP BY key, position
),
shown AS (
    SELECT key,
        CASE any_value(verdict) WHEN {FAILS} THEN min(failing)
            ELSE (arg_min(unknown, position) FILTER (code = {UNKNOWN})).range END AS range,
        arg_min(unknown, position) FILTER (code = {UNKNOWN}) AS unknown,
        list(by_range ORDER BY position) AS by_video
    FROM videos GROUP BY key
)
SELECT {literal(plan.recipe.name)} AS recipe, shard, sample_id,
    CASE decided.code WHEN {PASSES} THEN 'kept' WHEN {FAILS} THEN 'dropped' ELSE 'undecided' END AS outcome,
    coalesce(named.step_key, CASE WHEN decided.status <> 'ok' THEN made_by END, '') AS step,
    coalesce(named.operator, '') AS operator, coalesce(named.stat, '') AS stat,
    coalesce(list_transform(by_video, lambda video: video[shown.range + 1]), []) AS "values",
    coalesce(named.bound, '') AS bound,
    CASE WHEN decided.code <> {UNKNOWN} THEN 'ok'
        ELSE coalesce(unknown.status, decided.status) END AS status,
    CASE WHEN decided.code <> {UNKNOWN} THEN ''
        WHEN unknown.status = 'skipped' THEN named.skipped_reason
        ELSE coalesce(unknown.reason, decided.reason) END AS reason
FROM decided LEFT JOIN shown USING (key)
LEFT JOIN ({_names(steps)}) AS named ON named.step = decided.step AND named.range = shown.range
ORDER BY shard, line_number, sample_id"""


def _samples_sql(plan: Plan, store: Store) -> str:
    folder = store.samples_path(plan.recipe.name, "x").parent
    return _files_sql(store, SAMPLES.name, folder, f"{plan.recipe.name}/samples")


def _numbers(plan: Plan, store: Store, shards: Sequence[str] | None) -> str:
    """Every row that a step judges, with its code. range: index of the range; step: index of the step."""
    selects = []
    for number, step in enumerate(plan.steps):
        if not step.ranges:
            continue
        folder = store.stats_path(plan.recipe.name, step.key, "x").parent
        table = _files_sql(store, STATS.name, folder, f"{step.key} of {plan.recipe.name}")
        cases = " ".join(f"WHEN {literal(r.stat)} THEN {n}" for n, r in enumerate(step.ranges))
        passes = " ".join(f"WHEN {literal(r.stat)} THEN {_passes(r)}" for r in step.ranges)
        selects.append(
            f"SELECT hash(shard, sample_id) AS key, {number}::UTINYINT AS step, position, "
            f"(CASE stat {cases} END)::UTINYINT AS range, "
            f"CASE WHEN status = 'ok' THEN value END AS value, status, reason, "
            f"(CASE WHEN status <> 'ok' THEN {UNKNOWN} "
            f"WHEN value IS NULL THEN {_error('sample_id', ' ', 'stat', ': status ok without a value')} "
            f"WHEN CASE stat {passes} END THEN {PASSES} ELSE {FAILS} END)::UTINYINT AS code "
            f"FROM ({table}) {_only(shards)} AND field = {literal(step.video_key)} "
            f"AND stat IN ({', '.join(literal(r.stat) for r in step.ranges)})"
        )
    nothing = (
        "SELECT 0::UBIGINT AS key, 0::UTINYINT AS step, 0::BIGINT AS position, 0::UTINYINT AS range, "
        "0.0::DOUBLE AS value, '' AS status, '' AS reason, 0::UTINYINT AS code WHERE false"
    )
    return " UNION ALL ".join(selects or [nothing])


def _files_sql(store: Store, table: str, folder: Path, what: str) -> str:
    """SELECT over every file of one folder of the store. Raises ValueError where there is none."""
    if next(folder.glob("*.parquet"), None) is None:
        raise ValueError(f"{what}: no table, expected one per shard")
    return index.select(store.root, table, [f"{folder.relative_to(store.root).as_posix()}/*.parquet"])


def _passes(range_: StatRange) -> str:
    """`StatRange.passes` in SQL. For DuckDB, NaN is above every number; for Python, nothing is true of it."""
    low = ">=" if range_.low_closed != range_.is_reversed else ">"
    high = "<=" if range_.high_closed != range_.is_reversed else "<"
    inside = f"(NOT isnan(value) AND value {low} {_double(range_.low)} AND value {high} {_double(range_.high)})"
    return f"NOT {inside}" if range_.is_reversed else inside


def _double(number: float) -> str:
    return f"{literal(repr(float(number)))}::DOUBLE"


def _only(shards: Sequence[str] | None) -> str:
    return "WHERE true" if shards is None else f"WHERE list_contains([{', '.join(map(literal, shards))}], shard)"


def _expected(steps: Sequence[Step]) -> str:
    """Columns about the rows that a sample must have: how many, and a checksum of which, as lists are long."""
    rows = "flatten([[]::BIGINT[]" + "".join(f", {_expected_of(number, step)}" for number, step in enumerate(steps))
    return (
        f"{rows}]) AS expected, len(expected) AS expected_rows, "
        "coalesce(list_aggregate([hash(row) for row in expected], 'bit_xor'), 0) AS expected_sum"
    )


def _expected_of(number: int, step: Step) -> str:
    """The rows that one step must have of a sample: a list of BIGINT."""
    ranges = f"for range in range({len(step.ranges)})"
    if step.is_about_samples:
        return f"[{_row(number, len(step.ranges), '0')} {ranges}]"
    of_video = f"[{_row(number, len(step.ranges), 'video.position')} {ranges}]"
    return f"flatten([{of_video} for video in videos if video.field = {literal(step.video_key)}])"


def _row(step: int | str, ranges: int | str, position: str) -> str:
    """A number that tells the rows of one sample apart: of a step, a subject's position and a range."""
    return f"(({position} * {ranges} + range) * 256 + {step})::BIGINT"


def _answers(steps: Sequence[Step]) -> str:
    """Per sample: which codes each step has, as bits; the number and the checksum of its rows.

    Bits, because an aggregate per step and code takes several times as long.
    """
    codes = "".join(
        f"bit_or(CASE WHEN step // {STEPS_PER_WORD} = {word} "
        f"THEN (1::UBIGINT << (3 * (step % {STEPS_PER_WORD}) + code)) ELSE 0 END) AS codes_{word}, "
        for word in range(-(-len(steps) // STEPS_PER_WORD))
    )
    return (
        f"SELECT key, {codes}sum(num_rows) AS num_rows, bit_xor(checksum) AS checksum "
        f"FROM ({_by_video(steps)}) GROUP BY key"
    )


def _by_video(steps: Sequence[Step]) -> str:
    """Numbers, one line per video and step where its ranges must be taken together: `any` over several.

    Elsewhere a row will do, since the max over videos and ranges is one. Grouping is dear.
    """
    several = [n for n, step in enumerate(steps) if len(step.ranges) > 1 and step.any_or_all == "any"]
    ranges = "CASE step " + " ".join(f"WHEN {n} THEN {len(step.ranges)}" for n, step in enumerate(steps)) + " END"
    row = f"hash({_row('step', ranges if steps else 1, 'position')})"
    single = f"SELECT key, step, code, 1 AS num_rows, {row} AS checksum FROM numbers"
    if not several:
        return single
    of = f"({', '.join(map(str, several))})"
    return (
        f"{single} WHERE step NOT IN {of} UNION ALL "
        f"SELECT key, step, max(code) AS code, count(*) AS num_rows, bit_xor({row}) AS checksum "
        f"FROM numbers WHERE step IN {of} GROUP BY key, step, position"
    )


def _code(number: int, step: Step) -> str:
    """A step's code, from the bits of those that its videos have; a sample without videos passes."""
    word, place = divmod(number, STEPS_PER_WORD)
    order = (PASSES, UNKNOWN, FAILS) if step.any_or_all == "any" else (FAILS, UNKNOWN, PASSES)
    bits = f"(codes_{word} >> {3 * place})"
    whens = " ".join(f"WHEN {bits} & {1 << code} <> 0 THEN {code}" for code in order)
    return f"(CASE {whens} ELSE {PASSES} END)"


def _checked(code: str) -> str:
    """A sample's code, or an error where its rows are not those that its videos ask for."""
    return (
        "CASE WHEN coalesce(num_rows, 0) <> expected_rows OR coalesce(checksum, 0) <> expected_sum "
        f"THEN {_error('sample_id', ': other rows than one per subject and stat')} ELSE {code} END"
    )


def _worst(steps: Sequence[Step]) -> str:
    return f"greatest({', '.join(_code(number, step) for number, step in enumerate(steps))})" if steps else str(PASSES)


def _deciding(steps: Sequence[Step]) -> str:
    """Index of the step that a verdict names; NULL where the sample is kept."""
    whens = [
        f"WHEN {_code(number, step)} = {code} THEN {number}"
        for code in (FAILS, UNKNOWN)
        for number, step in enumerate(steps)
    ]
    return f"(CASE {' '.join(whens)} END)::UTINYINT" if whens else "NULL::UTINYINT"


def _names(steps: Sequence[Step]) -> str:
    """What verdicts call each range of each step."""
    rows = [
        f"({n}, {m}, {literal(step.key)}, {literal(step.operator.name)}, {literal(range_.stat)}, "
        f"{literal(str(range_))}, {literal(SKIPPED_REASON.format(step=step.key))})"
        for n, step in enumerate(steps)
        for m, range_ in enumerate(step.ranges)
    ]
    columns = "(step, range, step_key, operator, stat, bound, skipped_reason)"
    nothing = "SELECT 0, 0, '', '', '', '', '' WHERE false"
    return f"SELECT * FROM ({'VALUES ' + ', '.join(rows) if rows else nothing}) AS t{columns}"


def _error(*pieces: str) -> str:
    """An SQL expression that fails. pieces: column names, and texts."""
    columns = {"sample_id", "stat"}
    shown = " || ".join(piece if piece in columns else literal(piece) for piece in pieces)
    return f"error({literal(FAULT)} || {shown})"
