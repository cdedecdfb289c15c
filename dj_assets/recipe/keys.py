"""The table of dj-process's global keys (1.4.3 to 1.6.1): type, default, what becomes of each one here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


def as_typed(value: Any) -> str:
    """A value on one line, as the user might have typed it."""
    return json.dumps(value, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class Kind:
    """Type of a key's value. `read` returns the value or raises ValueError; null never reaches it.

    allowed: the type in words. is_text, is_list: on the command line a text is taken as it stands, not parsed as
    YAML (`--project_name 2025` is a text), unless lists are allowed, too, and it opens with a bracket. is_flag: a
    bare `--key` means true.
    """

    allowed: str
    read: Callable[[Any], Any]
    is_text: bool = False
    is_list: bool = False
    is_flag: bool = False

    def takes_as_is(self, text: str) -> bool:
        """Whether a value of the command line is meant as the text it is."""
        return self.is_text and not (self.is_list and text.lstrip().startswith("["))


def _flag(value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("neither true nor false")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    number = float(value)
    if math.isnan(number):
        raise ValueError("not a number")
    return number


def _whole(value: Any) -> int:
    """Upstream, too, takes `"4"` and `4.0` for 4."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _number(value)
    if not number.is_integer():
        raise ValueError("not a whole number")
    return int(value) if isinstance(value, str) and "." not in value else int(number)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _word(value: Any) -> str:
    if not _text(value).strip():
        raise ValueError("empty")
    return str(value)


def _words(value: Any) -> list[str]:
    words = [_word(value)] if isinstance(value, str) else _list_of(_word)(value)
    if not words:
        raise ValueError("empty")
    return words


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def read_list(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError("not a list")
        return [read(item) for item in value]

    return read_list


def _text_or_texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else _list_of(_text)(value)


def _names(value: Any) -> list[str]:
    """A list, or texts joined by commas as Data-Juicer's own documentation has them on the command line."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return _list_of(_word)(value)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    return value


def _mapping_or_list(value: Any) -> Any:
    return value if isinstance(value, dict) else _list_of(_mapping)(value)


def _within(read: Callable[[Any], Any], low: float, high: float = math.inf) -> Callable[[Any], Any]:
    def read_within(value: Any) -> Any:
        result = read(value)
        if not low <= result <= high:
            raise ValueError("out of range")
        return result

    return read_within


def _or_auto(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: value if value == "auto" else read(value)


def _choice(*names: str) -> Kind:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError("not one of them")
        return str(value)

    return Kind(", ".join(names), read, is_text=True)


FLAG = Kind("true or false", _flag, is_flag=True)
TEXT = Kind("text", _text, is_text=True)
WHOLE = Kind("a whole number", _whole)
POSITIVE = Kind("a whole number, at least 1", _within(_whole, 1))
COUNT = Kind("a whole number, at least 0", _within(_whole, 0))
POSITIVE_OR_AUTO = Kind("a whole number, at least 1, or auto", _or_auto(_within(_whole, 1)))
NUMBER = Kind("a number", _number)
RATIO = Kind("a number from 0 to 1", _within(_number, 0, 1))
TEXTS = Kind("a list of texts", _list_of(_text))
TEXT_OR_TEXTS = Kind("a text or a list of texts", _text_or_texts, is_text=True, is_list=True)
WORD = Kind("text, not empty", _word, is_text=True)
WORDS = Kind("a text or a list of texts, not empty", _words, is_text=True, is_list=True)
NAMES = Kind("a list of names", _names, is_text=True, is_list=True)
RATIOS = Kind("a list of numbers from 0 to 1", _list_of(_within(_number, 0, 1)))
MAPPING = Kind("a mapping", _mapping)
MAPPINGS = Kind("a list of mappings", _list_of(_mapping))
MAPPING_OR_LIST = Kind("a mapping, or a list of mappings", _mapping_or_list)
STEPS = Kind("a list of operators", lambda value: value)
RETENTION = _choice("keep_all", "keep_failed_only", "cleanup_all")
CHECKPOINTS = _choice("every_op", "every_n_ops", "every_partition", "manual", "disabled")


@dataclass(frozen=True)
class Key:
    """One global key. With neither `reason` nor `refusal` it is honoured.

    reason: why it has no effect here. refusal: what to try instead, where ignoring it would give other data.
    usual: values besides the default that upstream itself ships (another version's default, the example
    recipe's); like the default they ask for nothing, so they cause no note.
    """

    name: str
    kind: Kind
    default: Any
    reason: str = ""
    refusal: str = ""
    usual: tuple[Any, ...] = ()

    def asks_for_nothing(self, value: Any) -> bool:
        """Whether leaving the key out would have meant the same to Data-Juicer."""
        return value is None or value == self.default or value in self.usual


_Entry = tuple[str, Kind, Any] | tuple[str, Kind, Any, tuple[Any, ...]]


def _honoured(*entries: _Entry) -> Iterable[Key]:
    return (Key(*entry[:3]) for entry in entries)


def _without_effect(reason: str, *entries: _Entry) -> Iterable[Key]:
    return (Key(*entry[:3], reason=reason, usual=tuple(*entry[3:])) for entry in entries)


def _refused(try_: str, *entries: _Entry) -> Iterable[Key]:
    return (Key(*entry[:3], refusal=try_) for entry in entries)


_TABLE: tuple[Iterable[Key], ...] = (
    _honoured(
        ("project_name", TEXT, "hello_world"),
        ("dataset_path", TEXT, ""),
        ("dataset", MAPPING_OR_LIST, []),
        ("export_path", WORD, "./outputs/hello_world/hello_world.jsonl"),
        ("export_type", _choice("jsonl", "json", "parquet"), None),
        ("export_shard_size", COUNT, 0),
        ("keep_stats_in_res_ds", FLAG, False),
        ("percentiles", RATIOS, []),
        ("np", POSITIVE, 4),
        ("text_keys", WORDS, ["text"]),
        ("video_key", WORD, "videos"),
        ("video_special_token", WORD, "<__dj__video>"),
        ("eoc_special_token", WORD, "<|__dj__eoc|>"),
        ("suffixes", TEXT_OR_TEXTS, []),
        ("process", STEPS, []),
        ("open_tracer", FLAG, False),
        ("op_list_to_trace", NAMES, []),
        ("trace_num", COUNT, 10),
    ),
    _refused(
        "give the recipe on the command line: --config FILE; a recipe includes no other",
        ("config", TEXT_OR_TEXTS, None),
    ),
    _refused("list the operators under process", ("auto", FLAG, False)),
    _refused(
        "write the generated dataset to a JSONL file and name it in dataset_path",
        ("generated_dataset_config", MAPPING, None),
    ),
    _refused("decrypt the manifests first, and name those in dataset_path", ("decrypt_after_reading", FLAG, False)),
    _refused(
        "remove the key and encrypt the export afterwards; here it would be written in the clear",
        ("encrypt_before_export", FLAG, False),
    ),
    _without_effect(
        "samples are read and written by this engine's own reader and writer, every field kept",
        ("load_dataset_kwargs", MAPPING, {}),
        ("read_options", MAPPING, {}),
        ("export_extra_args", MAPPING, {}),
        ("export_in_parallel", FLAG, False),
    ),
    _without_effect(
        "a malformed line is always reported and set aside, never a stop and never lost",
        ("load_jsonl_lenient", FLAG, False),
        ("validators", MAPPINGS, []),
    ),
    _without_effect(
        "manifests and exports are local files",
        ("export_aws_credentials", MAPPING, None),
        ("encryption_key_path", TEXT, None),
    ),
    _without_effect("no operator here computes hashes", ("keep_hashes_in_res_ds", FLAG, False)),
    _without_effect(
        "the operators here look at videos only",
        ("image_key", TEXT, "images"),
        ("image_bytes_key", TEXT, "image_bytes"),
        ("image_special_token", TEXT, "<__dj__image>"),
        ("audio_key", TEXT, "audios"),
        ("audio_special_token", TEXT, "<__dj__audio>"),
    ),
    _without_effect(
        "a video that cannot be measured is always a row with its reason, never a lost sample",
        ("skip_op_error", FLAG, True),
    ),
    _without_effect(
        "workers and batches are sized by np, dj_assets.workers and memory",
        ("turbo", FLAG, False),
        ("adaptive_batch_size", FLAG, False),
        ("auto_op_parallelism", FLAG, True),
        ("resource_optimization.auto_configure", FLAG, False),
        ("elastic_juicer_adaptive_batching", FLAG, False),
        ("elastic_juicer_profile_seed", FLAG, False),
    ),
    _without_effect(
        "each video is always decoded once for all operators of a pass",
        ("op_fusion", FLAG, False),
        ("fusion_strategy", TEXT, "probe"),
        ("mapper_fusion", FLAG, True),
        ("mapper_fusion_vram_limit", NUMBER, 0.9),
    ),
    _without_effect(
        "every measure is kept in the store and found again; there is no other cache",
        ("use_cache", FLAG, True),
        ("ds_cache_dir", TEXT, None),
        ("cache_compress", TEXT, None),
        ("temp_dir", TEXT, None),
        ("work_dir", TEXT, None),
        ("preserve_intermediate_data", FLAG, False),
        ("intermediate_storage.preserve_intermediate_data", FLAG, False),
        ("intermediate_storage.cleanup_temp_files", FLAG, True),
        ("intermediate_storage.cleanup_on_success", FLAG, False),
        ("intermediate_storage.retention_policy", RETENTION, "keep_all"),
        ("intermediate_storage.max_retention_days", WHOLE, 7),
        ("intermediate_storage.format", _choice("parquet", "arrow", "jsonl"), "parquet"),
        ("intermediate_storage.compression", _choice("snappy", "gzip", "none"), "snappy"),
        ("intermediate_storage.write_partitions", FLAG, True),
    ),
    _without_effect(
        "finished measures are always kept, so a rerun goes on where the last one stopped",
        ("use_checkpoint", FLAG, False),
        ("checkpoint_dir", TEXT, None),
        ("checkpoint.enabled", FLAG, True),
        ("checkpoint.strategy", CHECKPOINTS, "every_n_ops"),
        ("checkpoint.n_ops", POSITIVE, 5),
        ("checkpoint.op_names", TEXTS, []),
        ("job_id", TEXT, None),
        ("resume", TEXT, None),
    ),
    _without_effect(
        "Dagster records every run, its log and its timings",
        ("open_monitor", FLAG, False, (True,)),
        ("event_logging.enabled", FLAG, True),
        ("event_log_dir", TEXT, None),
        ("use_dag", FLAG, None),
        ("debug", FLAG, False),
        ("max_log_size_mb", WHOLE, 100),
        ("backup_count", WHOLE, 5),
    ),
    _without_effect(
        "it adds fields to the traces of mappers; those of filters hold every field",
        ("trace_keys", NAMES, []),
    ),
    _without_effect(
        "dj-assets analyze looks at every sample that the recipe's operators measure",
        ("auto_num", POSITIVE, 1000),
    ),
    _without_effect(
        "dj-assets analyze writes a picture per stat, one page with all of them, and the stats of every sample",
        ("export_original_dataset", FLAG, False),
        ("save_stats_in_one_file", FLAG, False),
    ),
    _without_effect(
        "it belongs to Data-Juicer's insight mining, which is not here",
        ("open_insight_mining", FLAG, False),
        ("op_list_to_mine", TEXTS, []),
    ),
    _without_effect(
        "it belongs to Data-Juicer's sandbox, not to processing",
        ("hpo_config", TEXT, None),
        ("data_probe_algo", TEXT, "uniform"),
        ("data_probe_ratio", RATIO, 1.0),
    ),
    _without_effect("recipes are always checked before any decoding", ("strict_preflight", FLAG, True)),
    _without_effect(
        "outside operators join as installed packages, by the entry-point group dj_assets.operators",
        ("custom_operator_paths", TEXT_OR_TEXTS, []),
    ),
    _without_effect(
        "the work runs in local worker processes under Dagster, not on Ray; the result is the same",
        ("executor_type", _choice("default", "ray", "ray_partitioned"), "default"),
        ("ray_address", TEXT, "auto"),
        ("override_num_blocks", POSITIVE, None),
        ("min_common_dep_num_to_combine", WHOLE, -1),
        ("conflict_resolve_strategy", _choice("split", "overwrite", "latest"), "split"),
    ),
    _without_effect(
        "partitions are shards of dj_assets.shard_size samples",
        ("partition_size", POSITIVE, None, (10_000,)),
        ("partition_dir", TEXT, None),
        ("partition.mode", _choice("manual", "auto"), "auto"),
        ("partition.size", POSITIVE, None),
        ("partition.num_of_partitions", POSITIVE_OR_AUTO, None, (4,)),
        ("max_partition_size_mb", WHOLE, 128),
        ("partition.partitions_per_node", POSITIVE_OR_AUTO, "auto"),
        ("partition.max_concurrent_partitions", POSITIVE_OR_AUTO, "auto"),
        ("partition.max_gpu_workers_per_device", POSITIVE, 5),
        ("partition.max_concurrent_gpu_probes", POSITIVE_OR_AUTO, "auto"),
        ("partition.gpu_preflight_enabled", FLAG, True),
        ("partition.gpu_probe_timeout_seconds", NUMBER, None),
        ("partition.gpu_probe_warmup_batches", COUNT, 1),
        ("partition.gpu_probe_steady_batches", POSITIVE, 3),
        ("partition.gpu_probe_sample_offset", COUNT, 0),
        ("partition.gpu_probe_sample_shuffle", FLAG, False),
        ("partition.gpu_probe_sample_seed", WHOLE, 42),
        ("partition.execution_group_size", POSITIVE_OR_AUTO, "auto"),
        ("partition.max_initialization_overhead_ratio", NUMBER, 0.1),
        ("partition.target_size_mb", WHOLE, 256),
    ),
)

KEYS: Mapping[str, Key] = {key.name: key for group in _TABLE for key in group}
"""Every global key by its name; nested ones joined by a dot (`partition.size`)."""

ALIASES: Mapping[str, str] = {"custom-operator-paths": "custom_operator_paths"}
"""Second spellings that Data-Juicer itself takes in a recipe."""

GROUPS: frozenset[str] = frozenset(name.split(".")[0] for name in KEYS if "." in name)
"""Keys whose value is a mapping of further keys of the table."""
