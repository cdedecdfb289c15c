"""The samples that two recipes are compared over: the dataset's as it lies there now, or the store's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dj_assets.cli.console import counted
from dj_assets.columns import Columns, columns, sample_table
from dj_assets.errors import RecipeError
from dj_assets.measure import identify
from dj_assets.samples import Sample, read_shard
from dj_assets.store import bulk

if TYPE_CHECKING:
    import pyarrow as pa

    from dj_assets.plan import Plan
    from dj_assets.recipe import Recipe
    from dj_assets.store.store import Store

Known = Mapping[str, tuple[str, int, int]]
"""path → (content hash, bytes, modification time in ns)."""


@dataclass(frozen=True)
class Samples:
    """Both recipes' columns. source: where the samples come from. why_stored: why not from the dataset; or empty."""

    old: Columns
    new: Columns
    source: Literal["dataset", "store"]
    why_stored: str = ""

    def words(self) -> str:
        """`12 samples of ds.jsonl`."""
        path = self.new.plan.recipe.dataset_path
        of = f"of {path}" if self.source == "dataset" else f"of the last run ({self.why_stored})"
        return f"{counted(self.new.num_samples, 'sample')} {of}"


def columns_of_both(old: Plan, new: Plan, store: Store, *, stored: bool) -> Samples:
    """Columns over the samples of one dataset. Decodes nothing; reads the files that it does not know yet.

    stored: take the samples of the last run, as is done where the dataset is not there. Raises `RecipeError` where the
    recipes are about different data, or there is none.
    """
    _refuse_other_data(old.recipe, new.recipe)
    path = new.recipe.dataset_path
    is_gone = not path.exists() and not any(character in str(path) for character in "*?[")
    if stored or is_gone:
        table = _stored_table(old, new, store, asked_for=stored)
        if table is not None:
            why = "--stored" if stored else f"{path} is not there"
            return _over(old, new, store, table, why)
    return _read_both(old, new, store)


def _over(old: Plan, new: Plan, store: Store, table: pa.Table, why_stored: str) -> Samples:
    before = columns(old, store, table)
    after = columns(new, store, table, beside=before)
    return Samples(before, after, "store" if why_stored else "dataset", why_stored)


def _refuse_other_data(old: Recipe, new: Recipe) -> None:
    if old.dataset_path != new.dataset_path:
        error = RecipeError(
            f"the recipes are about different data: {old.dataset_path} and {new.dataset_path}",
            allowed="two recipes over one dataset, whose samples are told by drop and line",
            try_=f"--over {new.dataset_path}, to compare both over that",
            option="dataset_path",
        )
        raise new.located(error)


def _stored_table(old: Plan, new: Plan, store: Store, *, asked_for: bool) -> pa.Table | None:
    """Samples of the new recipe's last run, else of the old one's; None where there are none and none were wanted."""
    for recipe in dict.fromkeys([new.recipe.name, old.recipe.name]):
        table = bulk.samples(store.root, recipe, with_records=old.reads_records or new.reads_records)
        if table.num_rows:
            _refuse_other_fields(old, new)
            return table
    if not asked_for:
        return None
    raise RecipeError(
        f"the store has no samples of {' or '.join(dict.fromkeys([new.recipe.name, old.recipe.name]))}",
        allowed="a recipe that was run here",
        try_="leave --stored out; or dj-assets process, first",
        file="command line",
        option="stored",
    )


def _refuse_other_fields(old: Plan, new: Plan) -> None:
    """A stored sample has the videos of the fields that its recipe asked for, and no others."""
    if set(old.video_keys) != set(new.video_keys):
        raise RecipeError(
            f"the recipes read videos from different fields: {', '.join(old.video_keys)}; {', '.join(new.video_keys)}",
            allowed="with stored samples, two recipes that read the same fields",
            try_="compare over the dataset: without --stored, or --over DATASET",
            file="command line",
        )


# --- the dataset


def _read_both(old: Plan, new: Plan, store: Store) -> Samples:
    shards = read_dataset(new, store, _identities(old, store) if _cuts(old) != _cuts(new) else {})
    with_records = old.reads_records or new.reads_records
    table = sample_table(shards, recipe=new.recipe.name, with_records=with_records)
    if _reading(old) == _reading(new):
        return _over(old, new, store, table, "")
    # What the one refuses or takes for no sample, the other may not: each reads for itself.
    others = sample_table(read_dataset(old, store, _known(shards)), recipe=old.recipe.name, with_records=with_records)
    return Samples(columns(old, store, others), columns(new, store, table), "dataset")


def _reading(plan: Plan) -> tuple[Any, ...]:
    """What a plan's samples and the identities of their videos depend on."""
    recipe = plan.recipe
    limits = recipe.settings.limits
    files = (recipe.suffixes, recipe.drops_are_folders, recipe.text_key, recipe.video_special_token)
    return (*files, sorted(plan.video_keys), plan.roots, limits.max_file_mb, recipe.settings.trust_mtime)


def _cuts(plan: Plan) -> tuple[Any, ...]:
    return plan.recipe.settings.shard_size, plan.recipe.suffixes, plan.recipe.drops_are_folders


def read_dataset(plan: Plan, store: Store, known: Known) -> dict[str, list[Sample]]:
    """Shard → samples of a recipe's dataset as it lies there now, their videos identified. known: files that need no
    reading. Raises `RecipeError` where there is no dataset."""
    from dj_assets.cli.dataset import find_dataset

    recipe = plan.recipe
    found = {}
    for shard in find_dataset(recipe).shards:
        samples = read_shard(
            shard,
            video_keys=plan.video_keys,
            text_key=recipe.text_key,
            video_special_token=recipe.video_special_token,
            suffixes=recipe.suffixes,
        )
        here = {**known, **store.recall_identities(shard)} if recipe.settings.trust_mtime else None
        found[shard.key] = identify(samples, roots=plan.roots, limits=recipe.settings.limits, known=here)
    return found


def _identities(plan: Plan, store: Store) -> Known:
    """What is known of the files of a plan's shards, where the other plan's are cut elsewhere."""
    from dj_assets.cli.dataset import find_dataset

    return {
        path: facts
        for shard in find_dataset(plan.recipe).shards
        for path, facts in store.recall_identities(shard).items()
    }


def _known(shards: Mapping[str, list[Sample]]) -> Known:
    return {
        video.path: (video.content_hash, video.num_bytes, video.modified_ns)
        for samples in shards.values()
        for sample in samples
        for video in sample.videos
        if video.content_hash
    }
