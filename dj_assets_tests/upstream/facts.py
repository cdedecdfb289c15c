"""Facts of the installed Data-Juicer, as data: its operators' names, their options with defaults, and its own recipe.

    python -m dj_assets_tests.upstream.facts SITE_PACKAGES/data_juicer

writes three files, of which none holds a sentence of upstream's. Nothing of Data-Juicer is imported: its source is
read.

names.yaml                                every operator, by kind
config_all.yaml                           operator -> {option: value}, as upstream's recipe of all operators has them
dj_assets/operators/_upstream_options.json   operator -> {option: default}, of its constructor

The last two hold the operators that are built here or will be. They are made anew when upstream has a new release.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dj_assets.operators import _upstream

HERE = Path(__file__).parent
NAMES = HERE / "names.yaml"
CONFIG_ALL = HERE / "config_all.yaml"
OPTIONS = Path(_upstream.__file__).with_name("_upstream_options.json")

BY_KEYWORD: Mapping[str, Mapping[str, Any]] = {
    "video_motion_score_filter": {
        "pyr_scale": 0.5,
        "levels": 3,
        "winsize": 15,
        "iterations": 3,
        "poly_n": 5,
        "poly_sigma": 1.2,
        "flags": 0,
    },
    "video_face_blur_mapper": {"scaleFactor": 1.1, "minNeighbors": 3, "minSize": None, "maxSize": None},
    "video_split_by_scene_mapper": dict.fromkeys(
        [
            *("weights", "luma_only", "kernel_size"),
            *("window_width", "min_content_val", "min_delta_hsv"),
            *("fade_bias", "add_final_scene", "method", "block_size"),
        ]
    ),
}
"""What constructors take beside what they name. The detectors' own options have the detector's default: null here."""


def main(package: Path) -> None:
    """Read the package, write the three files."""
    operators = dict(_operators(package))
    by_kind = defaultdict(list)
    for name, kind in operators.items():
        by_kind[kind[0]].append(name)
    _write(NAMES, yaml.safe_dump({kind: sorted(names) for kind, names in sorted(by_kind.items())}))
    lines = {name: options for line in _process(package) for name, options in line.items()}
    wanted = sorted(name for name, known in _upstream.KNOWN.items() if not known.reason)
    chosen = {name: lines[name] or {} for name in wanted if name in lines}
    _write(CONFIG_ALL, yaml.safe_dump(chosen, sort_keys=False))
    options = {name: {**operators[name][1], **BY_KEYWORD.get(name, {})} for name in wanted}
    _write(OPTIONS, json.dumps(options, indent=1) + "\n")


def _process(package: Path) -> list[dict[str, dict[str, Any] | None]]:
    loaded = yaml.safe_load((package / "config" / "config_all.yaml").read_text(encoding="utf-8"))
    return loaded["process"]


def _operators(package: Path) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    """Name -> kind and constructor's options, of every class that is registered as an operator."""
    known = {"MetaKeys": _constants(package / "utils" / "constant.py", "MetaKeys")}
    for path in sorted((package / "ops").glob("*/**/*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            node.targets[0].id: node.value.value
            for node in module.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in module.body:
            if isinstance(node, ast.ClassDef) and (name := _registered_as(node, names)):
                yield name, (path.relative_to(package / "ops").parts[0], _options(node, {**known, **names}))


def _registered_as(node: ast.ClassDef, names: Mapping[str, Any]) -> str:
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "OPERATORS.register_module":
            [given] = call.args
            if isinstance(given, ast.JoinedStr):  # `document_minhash_deduplicator_with_uid`, which no recipe lists
                return ""
            return str(given.value if isinstance(given, ast.Constant) else names[ast.unparse(given)])
    return ""


def _options(node: ast.ClassDef, names: Mapping[str, Any]) -> dict[str, Any]:
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            named = function.args.args[1:]
            defaults: list[ast.expr | None] = [*function.args.defaults]
            defaults = [None] * (len(named) - len(defaults)) + defaults
            return {one.arg: _value(default, names) for one, default in zip(named, defaults, strict=True)}
    return {}


def _value(default: ast.expr | None, names: Mapping[str, Any]) -> Any:
    """A default as JSON has it. What only the machine knows, a cache folder, is null."""
    if default is None:
        return None
    text = ast.unparse(default)
    limits = {"sys.maxsize": 2**63 - 1, "-sys.maxsize": 1 - 2**63, "sys.float_info.max": sys.float_info.max}
    if text in limits:
        return limits[text]
    if text.startswith("MetaKeys."):
        return names["MetaKeys"][text.removeprefix("MetaKeys.")]
    try:
        return ast.literal_eval(default)
    except ValueError:
        return names.get(text)


def _constants(path: Path, name: str) -> dict[str, Any]:
    [node] = [
        one
        for one in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(one, ast.ClassDef) and one.name == name
    ]
    return {
        line.targets[0].id: line.value.value
        for line in node.body
        if isinstance(line, ast.Assign)
        and isinstance(line.targets[0], ast.Name)
        and isinstance(line.value, ast.Constant)
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
