"""What a recipe's dataset holds, as counts for people, with errors that name the recipe's line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dj_assets.cli.console import counted
from dj_assets.errors import RecipeError

if TYPE_CHECKING:
    from dj_assets.recipe import Recipe
    from dj_assets.samples import Drop, Shard


@dataclass(frozen=True)
class Dataset:
    """Drops of a dataset and the shards that they are cut into."""

    drops: tuple[Drop, ...]
    shards: tuple[Shard, ...]

    @property
    def num_samples(self) -> int:
        return sum(drop.num_samples for drop in self.drops)

    def __str__(self) -> str:
        return (
            f"{counted(self.num_samples, 'sample')} in {counted(len(self.shards), 'shard')} "
            f"of {counted(len(self.drops), 'data drop')}"
        )


def find_dataset(recipe: Recipe) -> Dataset:
    """Count the samples of a recipe's dataset. Raises `RecipeError`, with its place, where there is no dataset."""
    from dj_assets.samples import cut_shards, find_drops

    try:
        drops = find_drops(recipe.dataset_path, suffixes=recipe.suffixes, by_folder=recipe.drops_are_folders)
    except RecipeError as error:
        raise recipe.located(error) from None
    return Dataset(tuple(drops), tuple(cut_shards(drops, recipe.settings.shard_size)))
