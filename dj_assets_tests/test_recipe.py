"""Reading recipes: what a file and a command line mean, and what is said where they mean nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dj_assets.errors import STATUSES, BadOption, RecipeError, RecipeErrors
from dj_assets.recipe import Checks, Landing, Limits, Recipe, Settings, load_recipe
from dj_assets.recipe.keys import KEYS, Key, Kind

REPOSITORY = Path(__file__).resolve().parents[1]

SMALL = """\
dataset_path: ds.jsonl
export_path: out/res.jsonl
process:
  - video_motion_score_filter:
      min_score: 2.0
      sampling_fps: 1
  - video_duration_filter:
  - video_motion_score_filter:
      min_score: 9
"""

Load = Callable[..., Recipe]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Writes `small.yaml` into the working directory and loads it, with the overrides given."""
    monkeypatch.chdir(tmp_path)

    def load(text: str, *overrides: str, name: str = "small.yaml") -> Recipe:
        Path(name).write_text(text, encoding="utf-8")
        return load_recipe(name, overrides)

    return load


def errors_of(load: Load, text: str, *overrides: str) -> list[RecipeError]:
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides)
    error = caught.value
    found = error.errors if isinstance(error, RecipeErrors) else [error]
    assert all(fault.given and fault.allowed and fault.try_ for fault in found), "a message has three parts"
    return found


def error_of(load: Load, text: str, *overrides: str) -> RecipeError:
    found = errors_of(load, text, *overrides)
    assert len(found) == 1, [str(fault) for fault in found]
    return found[0]


# ── What a recipe means ─────────────────────────────────────────────────────────────────────────────────────


def test_the_tutorials_recipes_hold_the_tutorials_content() -> None:
    space = load_recipe(REPOSITORY / "recipes" / "video_space.yaml")
    time = load_recipe(REPOSITORY / "recipes" / "video_time.yaml")
    assert (space.name, time.name) == ("video_space", "video_time")
    for recipe in (space, time):
        assert recipe.dataset_path == Path.cwd() / "ds.jsonl"
        assert recipe.export_path == Path.cwd() / f"outputs/{recipe.name}_output/res.jsonl"
        assert recipe.keep_stats_in_res_ds
        assert recipe.notes == ()
    assert [(s.operator, s.options) for s in space.steps] == [
        ("video_ocr_area_ratio_filter", {"max_area_ratio": 0.2, "frame_sample_num": 3})
    ]
    assert [(s.operator, s.options) for s in time.steps] == [("video_motion_score_filter", {"min_score": 2.0})]


def test_steps_keep_their_order_options_and_lines(load: Load) -> None:
    recipe = load(SMALL)
    assert [(s.number, s.operator, s.options, s.line) for s in recipe.steps] == [
        (1, "video_motion_score_filter", {"min_score": 2.0, "sampling_fps": 1}, 4),
        (2, "video_duration_filter", {}, 7),
        (3, "video_motion_score_filter", {"min_score": 9}, 8),
    ]
    assert recipe.steps[0].place("sampling_fps") == ("small.yaml", 6)
    assert recipe.steps[0].place("max_score") == ("small.yaml", 4), "an option left out is reported at its step"


def test_what_is_left_out_has_data_juicers_defaults(load: Load) -> None:
    recipe = load("dataset_path: ds.jsonl\nprocess: [video_duration_filter]\n")
    assert recipe.project_name == "hello_world"
    assert recipe.export_path == Path.cwd() / "outputs/hello_world/hello_world.jsonl"
    assert (recipe.export_type, recipe.export_shard_size, recipe.keep_stats_in_res_ds) == ("jsonl", 0, False)
    assert (recipe.np, recipe.text_key, recipe.video_key) == (4, "text", "videos")
    assert (recipe.video_special_token, recipe.suffixes) == ("<__dj__video>", ())
    assert recipe.settings == Settings()


@pytest.mark.parametrize(
    ("entry", "options"),
    [
        pytest.param("- video_duration_filter: {max_duration: 9}", {"max_duration": 9}, id="flow mapping"),
        pytest.param("- video_duration_filter:\n      max_duration: 9", {"max_duration": 9}, id="block mapping"),
        pytest.param("- video_duration_filter: {}", {}, id="empty mapping"),
        pytest.param("- video_duration_filter:", {}, id="null"),
        pytest.param("- video_duration_filter", {}, id="bare name"),
    ],
)
def test_a_step_may_be_written_in_several_ways(load: Load, entry: str, options: dict[str, Any]) -> None:
    [step] = load(f"dataset_path: ds.jsonl\nprocess:\n  {entry}\n").steps
    assert (step.operator, step.options, step.line) == ("video_duration_filter", options, 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1e-3", 0.001, id="exponent without a dot is a number"),
        pytest.param("2.", 2.0, id="trailing dot"),
        pytest.param(".5", 0.5, id="leading dot"),
        pytest.param("1_000", 1000, id="grouped digits"),
        pytest.param("-.inf", -math.inf, id="infinity"),
        pytest.param("yes", True, id="yes is true, as in YAML 1.1"),
        pytest.param("16:9", "16:9", id="a ratio is text, not base 60"),
        pytest.param("9/21", "9/21", id="a ratio with a slash"),
        pytest.param("2024-01-01", "2024-01-01", id="a date is text"),
        pytest.param("'3'", "3", id="quoted"),
        pytest.param("~", None, id="null"),
        pytest.param("[640, 360]", [640, 360], id="list"),
    ],
)
def test_options_are_read_in_data_juicers_yaml_dialect(load: Load, text: str, value: Any) -> None:
    recipe = load(f"dataset_path: d\nprocess:\n  - an_operator:\n      option: {text}\n")
    assert recipe.steps[0].options == {"option": value}
    assert type(recipe.steps[0].options["option"]) is type(value)


def test_merge_keys_share_options_between_steps(load: Load) -> None:
    recipe = load(
        "dataset_path: d\nprocess:\n"
        "  - a: &shared {video_key: clips, any_or_all: all}\n"
        "  - b:\n      <<: *shared\n      any_or_all: any\n"
    )
    assert recipe.steps[1].options == {"video_key": "clips", "any_or_all": "any"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("data/../ds.jsonl", "{cwd}/ds.jsonl", id="relative to the working directory"),
        pytest.param("/data/ds.jsonl", "/data/ds.jsonl", id="absolute"),
        pytest.param("~/ds.jsonl", "{home}/ds.jsonl", id="home"),
        pytest.param("'drops/*/part-??.jsonl'", "{cwd}/drops/*/part-??.jsonl", id="glob stays a glob"),
        pytest.param("my clips/ds 2.jsonl", "{cwd}/my clips/ds 2.jsonl", id="spaces"),
    ],
)
def test_paths(load: Load, monkeypatch: pytest.MonkeyPatch, written: str, expected: str) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    recipe = load(f"dataset_path: {written}\nprocess: [a]\n")
    assert str(recipe.dataset_path) == expected.format(cwd=Path.cwd(), home="/home/ada")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[]", ()),
        ("[video_duration_filter]", ("video_duration_filter",)),
        ("video_duration_filter, video_motion_score_filter", ("video_duration_filter", "video_motion_score_filter")),
    ],
)
def test_operators_to_trace(load: Load, written: str, expected: tuple[str, ...]) -> None:
    assert load(f"{SMALL}open_tracer: true\nop_list_to_trace: {written}\n").op_list_to_trace == expected
    recipe = load(SMALL, "--open_tracer", "--op_list_to_trace", written, "--trace-num=3")
    assert (recipe.open_tracer, recipe.op_list_to_trace, recipe.trace_num) == (True, expected, 3)


def test_an_operator_to_trace_that_is_not_in_the_recipe_is_a_fault(load: Load) -> None:
    error = error_of(load, SMALL + "open_tracer: true\nop_list_to_trace: [video_motion_scor_filter]\n")
    assert (error.line, error.option) == (SMALL.count("\n") + 2, "op_list_to_trace")
    assert error.allowed == "video_motion_score_filter, video_duration_filter"
    assert "did you mean video_motion_score_filter" in error.try_


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param("export_path: a/res.jsonl", "jsonl", id="by suffix"),
        pytest.param("export_path: a/res.JSON", "json", id="suffix in capitals"),
        pytest.param("export_path: a/res.parquet", "parquet", id="parquet"),
        pytest.param("export_path: a/res\nexport_type: parquet", "parquet", id="export_type without a suffix"),
        pytest.param("export_path: a/res.json\nexport_type: jsonl", "jsonl", id="export_type comes first"),
    ],
)
def test_export_type(load: Load, lines: str, expected: str) -> None:
    assert load(f"dataset_path: d\n{lines}\nprocess: [a]\n").export_type == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("jsonl", (".jsonl",), id="one, no dot"),
        pytest.param("['.JSONL', parquet]", (".jsonl", ".parquet"), id="several"),
        pytest.param(".jsonl.gz", (".jsonl.gz",), id="double suffix"),
        pytest.param("[]", (), id="none"),
    ],
)
def test_suffixes(load: Load, written: str, expected: tuple[str, ...]) -> None:
    assert load(f"dataset_path: d\nsuffixes: {written}\nprocess: [a]\n").suffixes == expected


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        pytest.param("video_space.yaml", "video_space", id="as it is"),
        pytest.param("my-recipe v1.2.yaml", "my_recipe_v1_2", id="signs"),
        pytest.param("3d.yml", "3d", id="digit first"),
        pytest.param("ä.yaml", "_", id="not ASCII"),
    ],
)
def test_the_name_is_safe_in_asset_keys(load: Load, file_name: str, expected: str) -> None:
    assert load(SMALL, name=file_name).name == expected


def test_our_own_settings(load: Load) -> None:
    recipe = load(
        SMALL + "dj_assets:\n  shard_size: 10\n  short_circuit: false\n  on_undecided: keep\n  workers: null\n"
        "  roots: [media, ~/clips]\n  limits: {timeout_seconds: 5}\n  evidence:\n    dropped: 2\n"
    )
    assert recipe.settings.shard_size == 10
    assert not recipe.settings.short_circuit
    assert recipe.settings.on_undecided == "keep"
    assert recipe.settings.roots == (str(Path.cwd() / "media"), str(Path("~/clips").expanduser()))
    assert recipe.settings.limits == Limits(timeout_seconds=5)
    assert (recipe.settings.evidence.kept, recipe.settings.evidence.dropped) == (0, 2)


def test_owners_and_checks(load: Load) -> None:
    settings = load(
        SMALL + "dj_assets:\n  owners: [a.b@example.org, 'team:video data']\n  checks: {max_undecided_share: 0}\n"
    ).settings
    assert settings.owners == ("a.b@example.org", "team:video data")
    assert settings.checks == Checks(max_undecided_share=0)


@pytest.mark.parametrize(
    ("lines", "option", "words"),
    [
        pytest.param("owners: [bob]", "dj_assets.owners", "'bob' is neither", id="a bare name"),
        pytest.param("owners: ['team:']", "dj_assets.owners", "'team:' is neither", id="a team without a name"),
        pytest.param("owners: ['a@b']", "dj_assets.owners", "'a@b' is neither", id="no domain"),
        pytest.param("owners: a@b.org", "dj_assets.owners", "email addresses, or team:name", id="not a list"),
        pytest.param("checks: {max_drift: 0}", "dj_assets.checks.max_drift", "greater than 0", id="no drift at all"),
        pytest.param("checks: {max_undecided_share: 5}", "dj_assets.checks.max_undecided_share", "1", id="percent"),
    ],
)
def test_owners_and_checks_that_cannot_be_meant(load: Load, lines: str, option: str, words: str) -> None:
    error = error_of(load, f"{SMALL}dj_assets:\n  {lines}\n")
    assert error.option == option
    assert words in (error.allowed or "")


def test_dataset_with_one_local_source_is_its_path(load: Load) -> None:
    recipe = load("dataset:\n  configs:\n    - {type: local, path: a.jsonl, weight: 1.0}\nprocess: [a]\n")
    assert recipe.dataset_path == Path.cwd() / "a.jsonl"


def test_resolved_lists_what_holds_in_plain_values(load: Load) -> None:
    resolved = load(SMALL, "--np", "2").resolved
    assert resolved["dataset_path"] == str(Path.cwd() / "ds.jsonl")
    assert resolved["np"] == 2
    assert resolved["dj_assets.limits.timeout_seconds"] == 300.0
    assert resolved["process.3.video_motion_score_filter"] == {"min_score": 9}
    assert json.loads(json.dumps(resolved)) == resolved


def test_sha256_follows_the_meaning_and_not_the_writing(load: Load) -> None:
    plain = load(SMALL).sha256
    rewritten = "# comment\nnp: 4\n" + SMALL.replace(
        "min_score: 2.0\n      sampling_fps: 1", "sampling_fps: 1\n      min_score: 2.0"
    )
    assert load(rewritten).sha256 == plain
    assert load(SMALL.replace("2.0", "2.5")).sha256 != plain
    assert load(SMALL, "--dj_assets.shard_size", "7").sha256 != plain
    assert len(plain) == 64


# ── dj-process's global keys ────────────────────────────────────────────────────────────────────────────────

KEYS_OF_1_4_3 = """
    config auto auto_num hpo_config data_probe_algo data_probe_ratio project_name executor_type dataset_path dataset
    generated_dataset_config validators work_dir export_path export_type export_shard_size export_in_parallel
    export_extra_args keep_stats_in_res_ds keep_hashes_in_res_ds np text_keys image_key image_bytes_key
    image_special_token audio_key audio_special_token video_key video_special_token eoc_special_token suffixes turbo
    skip_op_error use_cache ds_cache_dir cache_compress open_monitor use_checkpoint temp_dir open_tracer
    op_list_to_trace trace_num open_insight_mining op_list_to_mine op_fusion fusion_strategy adaptive_batch_size
    process percentiles export_original_dataset save_stats_in_one_file ray_address custom_operator_paths debug
"""

KEYS_ADDED_UNTIL_1_6_1 = """
    load_jsonl_lenient use_dag strict_preflight load_dataset_kwargs read_options override_num_blocks
    export_aws_credentials decrypt_after_reading encrypt_before_export encryption_key_path checkpoint.enabled
    checkpoint.strategy checkpoint.n_ops checkpoint.op_names event_logging.enabled event_log_dir checkpoint_dir job_id
    resume trace_keys min_common_dep_num_to_combine conflict_resolve_strategy mapper_fusion mapper_fusion_vram_limit
    partition_size partition.mode partition.size partition.num_of_partitions partition.partitions_per_node
    partition.max_concurrent_partitions partition.max_gpu_workers_per_device partition.max_concurrent_gpu_probes
    partition.gpu_preflight_enabled partition.gpu_probe_timeout_seconds partition.gpu_probe_warmup_batches
    partition.gpu_probe_steady_batches partition.gpu_probe_sample_offset partition.gpu_probe_sample_shuffle
    partition.gpu_probe_sample_seed partition.execution_group_size partition.max_initialization_overhead_ratio
    partition.target_size_mb partition_dir elastic_juicer_adaptive_batching elastic_juicer_profile_seed
    auto_op_parallelism
"""


def test_the_table_knows_every_key_of_dj_process() -> None:
    known = (KEYS_OF_1_4_3 + KEYS_ADDED_UNTIL_1_6_1).split()
    assert len(known) == 54 + 46
    assert [name for name in known if name not in KEYS] == []


def test_the_documentation_says_what_becomes_of_every_key() -> None:
    text = (REPOSITORY / "docs" / "recipe.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for key in KEYS.values():
        remark = key.reason or key.refusal
        assert any(f"`{key.name}`" in row and row.endswith(f"| {remark} |" if remark else "|") for row in rows), key
    for name in [
        *Settings.model_fields,
        *(f"limits.{name}" for name in Limits.model_fields),
        *(f"landing.{name}" for name in Landing.model_fields),
        *(f"checks.{name}" for name in Checks.model_fields),
    ]:
        assert name in ("limits", "evidence", "landing", "checks") or f"| `{name}` |" in text, name


def test_the_glossary_explains_every_status() -> None:
    text = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert [status for status in STATUSES if f"| `{status}` |" not in text] == []


def nested(name: str, value: Any) -> str:
    """A key as YAML (JSON is YAML), nested where its name is dotted."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return json.dumps(value)


def recipe_with(key: Key, value: Any) -> str:
    base: dict[str, Any] = {"dataset_path": "ds.jsonl", "export_path": "res.jsonl", "process": ["a"]}
    return json.dumps({**base, **json.loads(nested(key.name, value))})


def another(kind: Kind, default: Any) -> Any:
    """A value of the kind that is not the default."""
    candidates: list[Any] = [
        True,
        False,
        "manual",
        "split",
        "latest",
        "ray",
        "every_op",
        "cleanup_all",
        "arrow",
        "gzip",
    ]
    candidates += ["json", "elsewhere", 8, 0.5, ["elsewhere"], [0.5], {"a": 1}, [{"a": 1}]]
    for candidate in candidates:
        try:
            if kind.read(candidate) != default:
                return candidate
        except (ValueError, OverflowError):
            continue
    raise AssertionError(f"no other value for {kind.allowed}")


WITHOUT_EFFECT = [key for key in KEYS.values() if key.reason]
REFUSED = [key for key in KEYS.values() if key.refusal]
HONOURED = [key for key in KEYS.values() if not key.reason and not key.refusal and key.name != "process"]


@pytest.mark.parametrize("key", [key for key in KEYS.values() if key.name != "dataset_path"], ids=lambda key: key.name)
def test_a_key_at_its_default_or_null_says_nothing(load: Load, key: Key) -> None:
    for value in (key.default, None):
        notes = load(recipe_with(key, value)).notes
        assert [note for note in notes if "no effect" in note] == []


@pytest.mark.parametrize("key", WITHOUT_EFFECT, ids=lambda key: key.name)
def test_a_key_without_effect_says_why_in_one_line(load: Load, key: Key) -> None:
    notes = load(recipe_with(key, another(key.kind, key.default))).notes
    if key.name == "open_monitor":  # on by default in 1.4.3, off in 1.6.1: either is somebody's default
        assert notes == ()
    else:
        assert notes == (f"{key.name} has no effect here: {key.reason}",)
    assert "\n" not in key.reason


@pytest.mark.parametrize("key", REFUSED, ids=lambda key: key.name)
def test_a_key_that_would_give_other_data_is_refused(load: Load, key: Key) -> None:
    error = error_of(load, recipe_with(key, another(key.kind, key.default)))
    assert error.option == key.name
    assert error.try_ == key.refusal


@pytest.mark.parametrize("key", HONOURED, ids=lambda key: key.name)
def test_an_honoured_key_changes_what_holds(load: Load, key: Key) -> None:
    values = {
        "dataset": {"configs": [{"type": "local", "path": "b.jsonl"}]},
        "dataset_path": "b.jsonl",
        "export_path": "b.jsonl",
        "export_type": "parquet",
        "op_list_to_trace": ["a"],
    }
    value = values.get(key.name, another(key.kind, key.default))
    base = recipe_with(key, key.default)
    text = recipe_with(key, value)
    if key.name in ("op_list_to_trace", "trace_num"):
        base, text = (json.dumps({**json.loads(written), "open_tracer": True}) for written in (base, text))
    if key.name == "dataset_path":
        base = recipe_with(key, "a.jsonl")
    if key.name == "dataset":
        base = json.dumps({**json.loads(base), "dataset_path": "a.jsonl"})
        text = json.dumps({**json.loads(text), "dataset_path": ""})
    assert load(text).resolved != load(base).resolved
    assert load(text).notes == ()


@pytest.mark.parametrize("key", [key for key in KEYS.values() if key.name != "process"], ids=lambda key: key.name)
def test_a_wrong_type_is_refused_with_line_and_key(load: Load, key: Key) -> None:
    wrong = {"a": ["b"]} if not _reads(key.kind, {"a": ["b"]}) else 3
    text = f"export_type: jsonl\nprocess: [a]\n{json.dumps(key.name)}: {json.dumps(wrong)}\n"
    if key.name == "export_type":
        text = text.removeprefix("export_type: jsonl\n")
    errors = [error for error in errors_of(load, text) if error.option == key.name and "missing" not in error.given]
    assert [error.line for error in errors] == [text.count("\n")]
    assert errors[0].allowed == key.kind.allowed


def _reads(kind: Kind, value: Any) -> bool:
    try:
        kind.read(value)
    except ValueError:
        return False
    return True


def test_notes_are_grouped_by_reason(load: Load) -> None:
    notes = load(SMALL + "use_dag: true\ndebug: true\npartition: {mode: manual, num_of_partitions: 9}\n").notes
    assert len(notes) == 2
    assert notes[0].startswith("use_dag, debug have no effect here: ")
    assert notes[1].startswith("partition.mode, partition.num_of_partitions have no effect here: ")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param("text_keys: [caption, text]", "text_keys: only the first", id="several text keys"),
        pytest.param("dataset: {max_sample_num: 3}", "dataset has no effect", id="dataset beside dataset_path"),
        pytest.param("export_path: ds.jsonl/out.jsonl", "inside dataset_path", id="export inside the dataset"),
        pytest.param("executor_type: ray", "not on Ray", id="ray"),
        pytest.param("trace_num: 3", "trace_num has no effect: open_tracer is false", id="a trace that is not opened"),
        pytest.param("op_list_to_trace: [x_mapper]", "open_tracer is false", id="operators that are not traced"),
        pytest.param("trace_keys: id", "traces of mappers", id="fields of mappers' traces"),
        pytest.param("keep_hashes_in_res_ds: true", "are in no export", id="hashes"),
    ],
)
def test_what_changes_nothing_or_little_is_noted(load: Load, lines: str, words: str) -> None:
    [note] = load(f"dataset_path: ds.jsonl\nprocess: [a]\n{lines}\n").notes
    assert words in note


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param('np: "3"', 3, id="quoted"),
        pytest.param("np: 3.0", 3, id="whole float"),
        pytest.param("np: null", 4, id="null is the default"),
    ],
)
def test_numbers_are_read_as_leniently_as_upstream(load: Load, lines: str, expected: int) -> None:
    assert load(f"{SMALL}{lines}\n").np == expected


def test_nested_keys_may_be_dotted_and_groups_null(load: Load) -> None:
    recipe = load(SMALL + "checkpoint: null\ndj_assets:\npartition.mode: manual\ndj_assets.shard_size: 5\n")
    assert recipe.settings.shard_size == 5
    assert recipe.notes[0].startswith("partition.mode has no effect")


# ── Faults of the file ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("", None, "empty", id="empty file"),
        pytest.param("# nothing\n", None, "empty", id="comment only"),
        pytest.param("- a\n", 1, "a list", id="list"),
        pytest.param("hello\n", 1, "a single value", id="text"),
        pytest.param("dataset_path: d\nprocess: [a\n", 3, "not valid YAML", id="open bracket"),
        pytest.param("dataset_path: d\nprocess:\n\t- a\n", 3, "not valid YAML", id="tab"),
        pytest.param("a: b: c\n", 1, "not valid YAML", id="two colons"),
        pytest.param("dataset_path: d\n---\nnp: 3\n", 2, "not valid YAML", id="two documents"),
        pytest.param("dataset_path: d\nnp: *nowhere\n", 2, "not valid YAML", id="unknown alias"),
        pytest.param("np: 1\ndataset: &a [*a]\n", 2, "unfold without end", id="alias of itself"),
        pytest.param("[" * 1000, None, "nests too deeply", id="a thousand brackets"),
        pytest.param("np: 1\nproject_name: \x01\n", 2, "not printable", id="control character"),
    ],
)
def test_what_is_no_recipe_at_all(load: Load, text: str, line: int | None, words: str) -> None:
    error = error_of(load, text)
    assert (error.file, error.line) == ("small.yaml", line)
    assert words in error.given


@pytest.mark.parametrize("template", ["[{}]", "{{<<: [{}]}}"], ids=["lists", "merge keys"])
def test_aliases_do_not_unfold_without_end(load: Load, template: str) -> None:
    """Nine lines of aliases of aliases are 10^9 values; a recipe must not take the machine with it."""
    lines = ["l0: &l0 {x: 1}"]
    lines += [f"l{n}: &l{n} " + template.format(", ".join([f"*l{n - 1}"] * 10)) for n in range(1, 9)]
    assert "unfold without end" in error_of(load, "\n".join(lines)).given


def test_a_missing_file_names_its_neighbours(load: Load) -> None:
    load(SMALL, name="video_space.yaml")
    with pytest.raises(RecipeError) as caught:
        load_recipe("vidoe_space.yaml")
    assert caught.value.file == "vidoe_space.yaml"
    assert caught.value.try_ == "did you mean video_space.yaml?"


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"np: 3\nproject_name: caf\xe9\n")
    with pytest.raises(RecipeError, match="not UTF-8") as caught:
        load_recipe(path)
    assert caught.value.line == 2


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert len(load_recipe(path).steps) == 3


@pytest.mark.parametrize(
    ("lines", "line", "option", "given_words", "try_words"),
    [
        pytest.param("export_pth: x", 3, "export_pth", "not known", "export_path", id="misspelt key"),
        pytest.param("shard_size: 3", 3, "shard_size", "not known", "dj_assets.shard_size", id="our key, not nested"),
        pytest.param("video_x_filter: {a: 1}", 3, "video_x_filter", "not known", "under process", id="operator"),
        pytest.param("on: 1", 3, "on", "not known", "remove", id="key that YAML takes for true"),
        pytest.param("np: 0", 3, "np", "np is 0", "the default, 4", id="too small"),
        pytest.param("np: true", 3, "np", "np is true", "the default, 4", id="true is no number"),
        pytest.param("np: many", 3, "np", 'np is "many"', "the default, 4", id="text is no number"),
        pytest.param("project_name: 2025", 3, "project_name", "2025", 'project_name: "2025"', id="number as text"),
        pytest.param("turbo: 1", 3, "turbo", "turbo is 1", "false", id="1 is not true"),
        pytest.param("video_key: ''", 3, "video_key", 'video_key is ""', "videos", id="empty field name"),
        pytest.param("text_keys: []", 3, "text_keys", "[]", "text", id="no text key"),
        pytest.param("checkpoint: 3", 3, "checkpoint", "checkpoint is 3", "leave", id="group as a number"),
        pytest.param("checkpoint: {n_op: 3}", 3, "checkpoint.n_op", "not known", "checkpoint.n_ops", id="in a group"),
        pytest.param("np: 3\nnp: 4", 4, None, "given twice, first in line 3", "one of them", id="duplicate key"),
        pytest.param("checkpoint: {n_ops: 3}\ncheckpoint.n_ops: 3", 4, None, "twice", "keep one", id="nested twice"),
        pytest.param("np: !!python/tuple [1]", 3, None, "tag !!python/tuple", "without the tag", id="foreign tag"),
        pytest.param("? [a]\n: 1", 3, None, "a key is a list", "one word", id="list as key"),
        pytest.param("export_type: csv", 3, "export_type", '"csv"', "leave", id="export type"),
        pytest.param("export_path: a.csv", 3, "export_path", ".csv", ".jsonl", id="export suffix"),
        pytest.param("export_path: a", 3, "export_path", "no suffix", ".jsonl", id="export without suffix"),
        pytest.param("export_path: s3://b/a.jsonl", 3, "export_path", "URL", "local file", id="export to S3"),
        pytest.param("export_path: x/../ds.jsonl", 3, "export_path", "dataset itself", "outputs", id="over the data"),
        pytest.param("dj_assets: 3", 3, "dj_assets", "dj_assets is 3", "leave", id="settings as a number"),
        pytest.param("dj_assets: {shards: 3}", 3, "dj_assets.shards", "not known", "shard_size", id="unknown setting"),
        pytest.param("dj_assets: {shard_size: 0}", 3, "dj_assets.shard_size", "is 0", "1000", id="setting too small"),
        pytest.param("dj_assets: {shard_size: yes}", 3, "dj_assets.shard_size", "true", "1000", id="setting, bool"),
        pytest.param("dj_assets: {short_circuit: 1}", 3, "dj_assets.short_circuit", "1", "true", id="setting, 1"),
        pytest.param("dj_assets: {roots: media}", 3, "dj_assets.roots", "media", "leave", id="roots as a text"),
        pytest.param("dj_assets: {roots: ['']}", 3, "dj_assets.roots", '[""]', "leave", id="empty root"),
        pytest.param(
            "dj_assets:\n  limits:\n    timeout: 3",
            5,
            "dj_assets.limits.timeout",
            "not known",
            "dj_assets.limits.timeout_seconds",
            id="unknown limit, deep line",
        ),
        pytest.param(
            "dj_assets:\n  limits:\n    timeout_seconds: .inf",
            5,
            "dj_assets.limits.timeout_seconds",
            "Infinity",
            "300.0",
            id="endless timeout",
        ),
        pytest.param(
            "dj_assets: {on_undecided: maybe}", 3, "dj_assets.on_undecided", "maybe", "set_aside", id="setting, choice"
        ),
    ],
)
def test_faults_of_keys(
    load: Load, lines: str, line: int, option: str | None, given_words: str, try_words: str
) -> None:
    error = error_of(load, f"dataset_path: ds.jsonl\nprocess: [a]\n{lines}\n")
    assert (error.file, error.line, error.option) == ("small.yaml", line, option)
    assert given_words in error.given
    assert try_words in error.try_


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param("np: 3", "dataset_path is missing", id="nothing said"),
        pytest.param("dataset_path: ''", "dataset_path is missing", id="empty"),
        pytest.param("dataset_path: null\ndataset: []", "dataset_path is missing", id="null"),
        pytest.param("dataset_path: 0.5 a.jsonl 0.5 b.jsonl", "by weight", id="weights"),
        pytest.param("dataset_path: a.jsonl 0.5 b.jsonl", "by weight", id="second weighted"),
        pytest.param("dataset_path: s3://bucket/a.jsonl", "URL", id="S3"),
        pytest.param("dataset: {configs: [{type: local, path: a}, {type: local, path: b}]}", "mixture", id="two"),
        pytest.param("dataset: {max_sample_num: 3, configs: [{type: local, path: a}]}", "sample", id="sampled"),
        pytest.param("dataset: {configs: [{type: huggingface, path: a/b}]}", "remote", id="hub"),
        pytest.param("dataset: [{type: local, path: a}]", "mixture", id="list"),
        pytest.param("dataset: {configs: [{type: local, path: s3://b/a}]}", "URL", id="remote path"),
    ],
)
def test_datasets_that_are_not_read_here(load: Load, lines: str, words: str) -> None:
    assert words in error_of(load, f"{lines}\nprocess: [a]\n").given


def test_a_path_that_looks_weighted_but_exists_is_a_path(load: Load) -> None:
    Path("clips.d 2 new.jsonl").touch()
    assert load("dataset_path: clips.d 2 new.jsonl\nprocess: [a]\n").dataset_path.name == "clips.d 2 new.jsonl"


@pytest.mark.parametrize(
    ("process", "line", "step", "words"),
    [
        pytest.param("process: {a: {x: 1}}", 2, None, "process is a mapping", id="mapping"),
        pytest.param("process: a", 2, None, 'process is "a"', id="text"),
        pytest.param("process:\n  - a:\n    x: 1", 3, "1", "2 keys: a, x", id="options not indented"),
        pytest.param("process:\n  - a:\n  - {}", 4, "2", "is empty", id="empty mapping"),
        pytest.param("process:\n  -", 3, "1", "the step is null", id="nothing after the dash"),
        pytest.param("process:\n  - 3", 3, "1", "the step is 3", id="number"),
        pytest.param("process:\n  - [a, b]", 3, "1", 'the step is ["a", "b"]', id="list"),
        pytest.param("process:\n  - a: 3", 3, "1", "the options of a are 3", id="options as a number"),
        pytest.param("process:\n  - a: [x, 1]", 3, "1", "the options of a", id="options as a list"),
    ],
)
def test_faults_of_steps(load: Load, process: str, line: int, step: str | None, words: str) -> None:
    error = error_of(load, f"dataset_path: d\n{process}\n")
    assert (error.file, error.line, error.step) == ("small.yaml", line, step)
    assert words in error.given


def test_a_duplicate_option_is_a_fault(load: Load) -> None:
    error = error_of(load, "dataset_path: d\nprocess:\n  - a:\n      x: 1\n      x: 2\n")
    assert error.line == 5
    assert "given twice, first in line 4" in error.given


def test_one_reading_finds_all_faults_in_the_order_of_lines(load: Load) -> None:
    errors = errors_of(load, "np: 0\nturbo: 7\nproces: []\nexport_path: a.csv\n", "--nq", "2")
    assert [(error.file, error.line) for error in errors] == [
        ("small.yaml", None),  # dataset_path is missing
        ("small.yaml", 1),
        ("small.yaml", 2),
        ("small.yaml", 3),
        ("small.yaml", 4),
        ("command line", None),
    ]


def test_a_later_fault_can_be_placed(load: Load) -> None:
    recipe = load(SMALL)
    error = recipe.located(RecipeError("no such file", option="dataset_path"))
    assert error.where() == "small.yaml:1 option dataset_path"
    assert recipe.located(RecipeError("no such thing")).where() == "small.yaml"
    overridden = load(SMALL, "--dataset_path", "other.jsonl")
    assert overridden.located(RecipeError("gone", option="dataset_path")).file == "command line"


# ── The command line ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("tokens", "attribute", "expected"),
    [
        pytest.param(["--np", "2"], "np", 2, id="two tokens"),
        pytest.param(["--np=2"], "np", 2, id="equals sign"),
        pytest.param(["--np", "2", "--np", "3"], "np", 3, id="the last wins"),
        pytest.param(["--project-name", "x"], "project_name", "x", id="hyphens"),
        pytest.param(["--project_name", "2025"], "project_name", "2025", id="a text stays text"),
        pytest.param(["--project_name=a=b: c"], "project_name", "a=b: c", id="a text is not parsed"),
        pytest.param(["--keep_stats_in_res_ds", "true"], "keep_stats_in_res_ds", True, id="flag with value"),
        pytest.param(["--keep_stats_in_res_ds", "--np", "1"], "keep_stats_in_res_ds", True, id="bare flag"),
        pytest.param(["--np", "1", "--keep-stats-in-res-ds"], "keep_stats_in_res_ds", True, id="bare flag, last"),
        pytest.param(["--text_keys", "[a, b]"], "text_key", "a", id="list"),
        pytest.param(["--text_keys", "a"], "text_key", "a", id="text where a list may stand"),
        pytest.param(["--np", "null"], "np", 4, id="null is the default"),
    ],
)
def test_overrides_of_keys(load: Load, tokens: list[str], attribute: str, expected: Any) -> None:
    assert getattr(load(SMALL, *tokens), attribute) == expected


def test_overrides_of_paths_are_relative_to_the_working_directory(load: Load) -> None:
    recipe = load(SMALL, "--export_path", "elsewhere/res.parquet", "--dataset-path=a.jsonl")
    assert recipe.export_path == Path.cwd() / "elsewhere/res.parquet"
    assert recipe.export_type == "parquet"
    assert recipe.dataset_path == Path.cwd() / "a.jsonl"


def test_overrides_of_settings(load: Load) -> None:
    recipe = load(
        SMALL + "dj_assets: {limits: {max_file_mb: 9, memory_mb: 300}}\n",
        *["--dj_assets.shard_size", "10", "--dj-assets.limits.timeout-seconds=5", "--dj_assets.short_circuit", "no"],
        *["--dj_assets.roots", "[media]", "--dj_assets.evidence", "{kept: 2}", "--dj_assets.limits.memory_mb", "500"],
    )
    assert (recipe.settings.shard_size, recipe.settings.short_circuit) == (10, False)
    assert recipe.settings.limits == Limits(timeout_seconds=5, max_file_mb=9, memory_mb=500)
    assert recipe.settings.evidence.kept == 2
    assert recipe.settings.roots == (str(Path.cwd() / "media"),)


def test_an_operators_option_goes_to_every_step_of_that_name(load: Load) -> None:
    recipe = load(SMALL, "--video_motion_score_filter.min_score", "3", "--video-duration-filter.max-duration=-1")
    assert [step.options for step in recipe.steps] == [
        {"min_score": 3, "sampling_fps": 1},
        {"max_duration": -1},
        {"min_score": 3},
    ]
    assert recipe.steps[0].place("min_score") == ("command line", None)
    assert recipe.steps[0].place("sampling_fps") == ("small.yaml", 6)
    assert recipe.notes == ()


def test_an_operator_that_process_does_not_list_becomes_the_last_step(load: Load) -> None:
    recipe = load(SMALL, "--video_resolution_filter.min_width", "640", "--video_resolution_filter.min_height=360")
    assert recipe.steps[-1].operator == "video_resolution_filter"
    assert recipe.steps[-1].options == {"min_width": 640, "min_height": 360}
    assert (recipe.steps[-1].number, recipe.steps[-1].place()) == (4, ("command line", None))
    assert [note for note in recipe.notes if "video_resolution_filter" in note] == list(recipe.notes)


def test_process_itself_may_be_overridden(load: Load) -> None:
    recipe = load(SMALL, "--process", "[{video_duration_filter: {max_duration: 9}}, other]")
    assert [(step.operator, step.options) for step in recipe.steps] == [
        ("video_duration_filter", {"max_duration": 9}),
        ("other", {}),
    ]
    assert recipe.steps[0].place("max_duration") == ("command line", None)


def test_options_that_take_several_values(load: Load) -> None:
    recipe = load(SMALL, "--custom-operator-paths", "a.py", "b.py", "--np", "2")
    assert recipe.np == 2
    assert recipe.notes[0].startswith("custom_operator_paths has no effect")


@pytest.mark.parametrize(
    ("tokens", "option", "words"),
    [
        pytest.param(["stray"], None, "'stray' belongs to no option", id="stray at the start"),
        pytest.param(["--np", "2", "3"], None, "'3' belongs to no option", id="second value"),
        pytest.param(["-np", "2"], None, "belongs to no option", id="one dash"),
        pytest.param(["--"], None, "belongs to no option", id="two dashes"),
        pytest.param(["--=3"], None, "belongs to no option", id="no name"),
        pytest.param(["--np"], "np", "no value", id="value forgotten"),
        pytest.param(["--np", "--turbo", "true"], "np", "no value", id="value forgotten before an option"),
        pytest.param(["--np="], "np", "no value", id="nothing after the equals sign"),
        pytest.param(["--export_path", ""], "export_path", "no value", id="empty value"),
        pytest.param(["--a.x"], "a.x", "no value", id="operator's value forgotten at the end"),
        pytest.param(["--np", "0"], "np", "np is 0", id="impossible value"),
        pytest.param(["--nq", "3"], "nq", "not known", id="unknown key"),
        pytest.param(["--min_score", "3"], "min_score", "not known", id="operator's option without operator"),
        pytest.param(["--partitions.mode", "auto"], "partitions.mode", "not known", id="misspelt group"),
        pytest.param(["--dj_asset.shard_size", "3"], "dj_asset.shard_size", "not known", id="misspelt dj_assets"),
        pytest.param(["--dj_assets.shards", "3"], "dj_assets.shards", "not known", id="misspelt setting"),
        pytest.param(["--dj_assets.shard_size", "x"], "dj_assets.shard_size", "x", id="setting of a wrong type"),
        pytest.param(["--a.x", "[1"], "a.x", "not valid YAML", id="no YAML"),
        pytest.param(["--a.x", "#1"], "a.x", "empty value", id="a YAML comment"),
        pytest.param(["--process", "a"], "process", "process is", id="process as a text"),
        pytest.param(["--config", "b.yaml"], "config", "config is", id="second recipe"),
    ],
)
def test_faults_of_the_command_line(load: Load, tokens: list[str], option: str | None, words: str) -> None:
    error = error_of(load, SMALL, *tokens)
    assert (error.file, error.line, error.option) == ("command line", None, option)
    assert words in error.given


def test_half_a_character_is_no_text(load: Load) -> None:
    assert load(SMALL + 'project_name: "\\ud83d\\ude00"\n').project_name == "\N{GRINNING FACE}"
    assert "not text" in error_of(load, SMALL + 'project_name: "\\ud83d"\n').given
    assert "not text" in error_of(load, SMALL, "--project_name", "\udcff").given


def test_the_misspelt_option_is_traced_to_its_operator(load: Load) -> None:
    assert "video_motion_score_filter.min_score" in error_of(load, SMALL, "--min_score", "3").try_
    assert isinstance(error_of(load, SMALL, "--min_score", "3"), BadOption)


ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEY = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
"""YAML takes keys of up to 1024 characters, and JSON spells one character with up to twelve."""
SIMPLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT


@ANY_SPEED
@given(value=st.recursive(SIMPLE, lambda inner: st.lists(inner) | st.dictionaries(KEY, inner), max_leaves=5))
def test_any_json_value_of_an_operators_option_arrives_as_it_is(tmp_path_factory: Any, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "given.yaml"
    if not path.exists():
        path.write_text(SMALL)
    recipe = load_recipe(path, [f"--video_duration_filter.option={json.dumps(value)}"])
    assert recipe.steps[1].options == {"option": value}


OPTION_LIKE = st.sampled_from(["--np", "--a.b", "--process", "--dj_assets", "--dj_assets.limits", "--partition", "--"])


@ANY_SPEED
@given(tokens=st.lists(st.text() | OPTION_LIKE | st.text().map("--".__add__), max_size=6))
def test_any_command_line_is_read_or_refused(tmp_path_factory: Any, tokens: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "given.yaml"
    if not path.exists():
        path.write_text(SMALL)
    try:
        load_recipe(path, tokens)
    except RecipeError as error:
        assert str(error)


YAML_LIKE = st.lists(st.sampled_from([*"ab:-[]{}&*!<>\n \t'\"#|?,.1", "process", "dj_assets", "<<", "dataset_path"]))


@ANY_SPEED
@given(content=st.binary() | YAML_LIKE.map("".join).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        load_recipe(path)
    except RecipeError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param("", None, id="nothing said, which is not Data-Juicer's 4"),
        pytest.param("np: 4\n", 4, id="4 said"),
        pytest.param("dj_assets: {workers: 3}\n", 3, id="workers"),
        pytest.param("np: 4\ndj_assets: {workers: 3}\n", 3, id="workers overrule np"),
    ],
)
def test_what_a_recipe_says_of_workers(load: Load, lines: str, expected: int | None) -> None:
    assert load(f"{SMALL}{lines}").wanted_workers == expected
