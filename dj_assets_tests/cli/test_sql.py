"""`dj-assets sql`: the questions of docs/sql.md, the formats, and what a query must not be able to do."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dj_assets.store.store import Store
from dj_assets_tests.cli.project_store import dj_assets

DOCS = Path(__file__).parents[2] / "docs" / "sql.md"
QUESTIONS = re.findall(r"\n([^\n]+\?)\n\n```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def asked(query: str) -> list[dict]:
    result = dj_assets("sql", query, "--format", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_has_eleven_questions() -> None:
    assert len(QUESTIONS) == 11


ANSWERS = {
    "What became": ("samples", [1, 1, 1]),
    "Which samples would come back": ("sample_id", ["ds:1"]),
    "How is a number distributed": ("median", [2.0]),
    "What could not be measured": ("status", ["unreadable"]),
    "Which videos do I have twice": ("places", []),
    "On which samples do two recipes disagree": ("sample_id", []),
    "What did measuring cost": ("seconds", [0.75]),
    "With which versions": ("videos", [3]),
    "What is in an export": ("samples", [1]),
    "From which part of which video": ("sample_id", []),
    "What was written last": ("kind", ["samples", "stats", "verdicts"]),
}


@pytest.mark.parametrize(("question", "sql"), QUESTIONS, ids=[question[:40] for question, _ in QUESTIONS])
def test_each_query_of_the_page_answers_its_question(filled: Store, question: str, sql: str) -> None:
    column, answer = next(expected for start, expected in ANSWERS.items() if question.startswith(start))
    assert sorted(row[column] for row in asked(sql)) == answer


def test_every_view_is_on_the_page(filled: Store) -> None:
    page = DOCS.read_text(encoding="utf-8")
    for view in [row["name"] for row in asked("SHOW TABLES")]:
        assert f"| `{view}` |" in page or view.startswith("stat_")


# --- formats --------------------------------------------------------------------------------------------------------

QUERY = "SELECT sample_id, value, window_values, measured_at FROM stats ORDER BY sample_id"


def test_a_table_says_NULL_and_an_empty_one_says_so(filled: Store) -> None:
    lines = [line.split() for line in dj_assets("sql", QUERY).stdout.splitlines()]
    assert ["ds:3", "NULL", "[1.0,", "2.0]", "2026-11-22T10:00:00+00:00"] in lines
    assert "no rows (sample_id)" in dj_assets("sql", "SELECT sample_id FROM stats WHERE false").stdout


def test_csv_json_and_parquet_hold_the_same(filled: Store, tmp_path: Path) -> None:
    rows = asked(QUERY)
    assert [row["value"] for row in rows] == [0.5, 3.5, None]
    table = list(csv.DictReader(io.StringIO(dj_assets("sql", QUERY, "--format", "csv").stdout)))
    assert [(row["value"], json.loads(row["window_values"])) for row in table] == [
        ("0.5", [1.0, 2.0]),
        ("3.5", [1.0, 2.0]),
        ("", [1.0, 2.0]),
    ]
    assert dj_assets("sql", QUERY, "-o", str(tmp_path / "new" / "answer.parquet")).exit_code == 0
    assert pq.ParquetFile(tmp_path / "new" / "answer.parquet").read().to_pylist() == rows


def test_without_a_query_it_lists_views_columns_and_meanings(filled: Store) -> None:
    result = dj_assets("sql")
    assert "verdicts: What happens to each sample, and why." in result.stdout
    assert ["outcome", "VARCHAR", "kept,", "dropped", "or", "undecided"] in [
        line.split() for line in result.stdout.splitlines()
    ]


# --- what it must not be able to do ---------------------------------------------------------------------------------

EVIL = {
    "copy": "COPY (SELECT 1) TO '{store}/evil.csv'",
    "copy inside a SELECT": "WITH x AS (COPY (SELECT 1) TO '{store}/evil.csv') SELECT * FROM x",
    "copy of a pivot": "COPY (PIVOT verdicts ON outcome USING count(*)) TO '{store}/evil.csv'",
    "copy behind another statement": "SELECT 1; COPY (SELECT 1) TO '{store}/evil.csv'",
    "copy under EXPLAIN ANALYZE": "EXPLAIN ANALYZE COPY (SELECT 1) TO '{store}/evil.csv'",
    "export": "EXPORT DATABASE '{store}/evil.csv'",
    "attach": "ATTACH '{store}/evil.csv' AS evil",
    "table": "CREATE TABLE evil AS SELECT 1",
    "file outside": "SELECT * FROM read_text('{outside}')",
    "file outside by dots": "SELECT * FROM read_text('{store}/../outside.txt')",
    "extension": "LOAD httpfs",
    "setting": "SET enable_external_access = true",
    "variable of our own functions": "SELECT * FROM connection",
}


@pytest.mark.parametrize("query", EVIL.values(), ids=EVIL)
def test_a_query_can_neither_write_nor_read_elsewhere(filled: Store, tmp_path: Path, query: str) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    filled.refresh_index()
    before = {path for path in tmp_path.rglob("*") if "stats.duckdb" not in path.name}
    result = dj_assets("sql", query.format(store=filled.root, outside=outside))
    assert result.exit_code == 2
    assert "\n  allowed: " in result.stderr and "\n  try: " in result.stderr
    assert "secret" not in result.stdout
    assert {path for path in tmp_path.rglob("*") if "stats.duckdb" not in path.name} == before


MISTAKES = {
    "view": ("SELECT * FROM verdict", "did you mean verdicts"),
    "column": ("SELECT vlaue FROM stats", "did you mean value?"),
    "grammar": ("SELEC 1", 'syntax error at or near "SELEC"'),
    "value": ("SELECT 'x'::INT", "Could not convert string 'x'"),
}


@pytest.mark.parametrize(("query", "answer"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_answered_in_three_parts(filled: Store, query: str, answer: str) -> None:
    result = dj_assets("sql", query)
    assert result.exit_code == 2
    assert answer in result.stderr
    assert "\n  allowed: " in result.stderr and "\n  try: " in result.stderr


def test_a_damaged_file_is_a_failure_that_names_it(filled: Store) -> None:
    filled.verdicts_path("short", "ds-00000").write_bytes(b"junk")
    result = dj_assets("sql", "FROM verdicts")
    assert result.exit_code == 1
    assert "ds-00000.parquet" in result.stderr


def test_a_failed_query_leaves_the_file_as_it_was(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "answer.csv").write_text("before")
    assert dj_assets("sql", "SELECT nothing FROM stats", "-o", "answer.csv").exit_code == 2
    assert (tmp_path / "answer.csv").read_text() == "before"


def test_no_store_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJ_ASSETS_STORE", str(tmp_path / "nowhere"))
    result = dj_assets("sql", "FROM verdicts")
    assert result.exit_code == 2
    assert "there is no store at" in result.stderr
    assert not (tmp_path / "nowhere").exists()


HOLD_OPEN = """
import duckdb, sys
connection = duckdb.connect("duckdb:" + sys.argv[1])
connection.execute("SELECT 1").fetchall()
print("open", flush=True)
sys.stdin.readline()
"""


def test_an_index_that_somebody_holds_for_writing_does_not_keep_the_answer_back(filled: Store) -> None:
    assert filled.refresh_index() is None
    arguments = [sys.executable, "-c", HOLD_OPEN, str(filled.index_path)]
    client = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None and client.stdout.readline() == "open\n"
    try:
        assert asked("SELECT count(*) AS n FROM verdicts") == [{"n": 3}]
    finally:
        client.communicate("\n", timeout=60)
