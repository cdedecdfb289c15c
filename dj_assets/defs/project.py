"""Where a project keeps its recipes, its store and its Dagster home; knows no Dagster, so that asking is cheap."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dj_assets import machine
from dj_assets.errors import RecipeError
from dj_assets.machine import num_cores

if TYPE_CHECKING:
    from dj_assets.recipe import Recipe

RECIPE_SUFFIXES = (".yaml", ".yml")

DEFAULT_INSTANCE_CONFIG = """\
# Written by dj-assets for a project without a dagster.yaml of its own; edit it as you like.
telemetry: {enabled: false}
nux: {enabled: false}
concurrency: {pools: {granularity: op, default_limit: 1}, runs: {max_concurrent_runs: 4}}
run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 30}
run_retries: {enabled: true, max_retries: 1, retry_on_asset_or_op_failure: false}
freshness: {enabled: true}
"""


def project_root() -> Path:
    """The project's folder: `DJ_ASSETS_ROOT`, else the working directory. Absolute."""
    return Path(os.environ.get("DJ_ASSETS_ROOT") or Path.cwd()).expanduser().absolute()


def store_root() -> Path:
    """The store's folder: `DJ_ASSETS_STORE`, else `.dj_assets/store` under the project root. Absolute."""
    given = os.environ.get("DJ_ASSETS_STORE")
    return Path(given).expanduser().absolute() if given else project_root() / ".dj_assets" / "store"


def recipe_paths(root: Path) -> list[Path]:
    """Every recipe file of a project, sorted by name; none where it has no `recipes` folder."""
    folder = root / "recipes"
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in RECIPE_SUFFIXES and path.is_file())


def dagster_home() -> Path:
    """The folder of the Dagster instance, made ready to be used as `DAGSTER_HOME`.

    `DAGSTER_HOME` where it is set; else the working directory where that has a `dagster.yaml`; else
    `.dj_assets/dagster_home` under the working directory, created with a small configuration on first use.
    """
    given = os.environ.get("DAGSTER_HOME")
    if given:
        home = Path(given).expanduser()
        if not home.is_absolute() or not home.is_dir():
            raise RecipeError(
                f"DAGSTER_HOME is {given!r}",
                allowed="the absolute path of a folder that exists",
                try_="create it, or unset DAGSTER_HOME to use the project's own",
            )
        return home
    here = Path.cwd()
    if (here / "dagster.yaml").is_file():
        return here
    home = here / ".dj_assets" / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(DEFAULT_INSTANCE_CONFIG, encoding="utf-8")
    return home


def count_from_environment(name: str, default: int) -> int:
    """A whole number of at least 1 from an environment variable. Raises `RecipeError` on anything else."""
    given = os.environ.get(name)
    if not given:
        return default
    if not given.isdecimal() or int(given) < 1:
        raise RecipeError(f"{name} is {given!r}", allowed="a whole number, 1 or more", try_=f"unset it for {default}")
    return int(given)


def cpu_workers(recipe: Recipe, *, most: int = 0) -> int:
    """Worker processes of a header or cpu pass: what the recipe asks for, else what the machine bears.

    most: of them; 0 for `DJ_ASSETS_CPU_WORKERS`, else one per core.
    """
    most = most or count_from_environment("DJ_ASSETS_CPU_WORKERS", num_cores())
    return machine.cpu_workers(recipe.wanted_workers, most=most, memory_mb=recipe.settings.limits.memory_mb)


def gpu_workers(recipe: Recipe, *, most: int = 0) -> int:
    """Worker processes of a gpu pass, each with a model of its own: never more than the recipe asks for.

    most: of them; 0 for `DJ_ASSETS_GPU_WORKERS`, else 1.
    """
    most = most or count_from_environment("DJ_ASSETS_GPU_WORKERS", 1)
    return max(1, min(most, recipe.settings.workers or most))
