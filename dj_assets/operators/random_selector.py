"""Keeps a random part of the samples: always the same part, whatever order they arrive in.

Source: `RandomSelector` of Data-Juicer 1.6.1, which shuffles rows by a seed of 42. Here each sample draws a lot from
its own id and `seed`, and the lowest lots stay; so a sample that was drawn is not drawn anew when others arrive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import Field

from dj_assets.operators._contract import Params
from dj_assets.operators._selecting import in_words, share_or_number
from dj_assets.operators._whole import Applicant, Candidate, Choice, Related, Whole, all_but


class RandomSelectorParams(Params):
    """Options that change which samples stay."""

    select_ratio: float | None = Field(None, gt=0, le=1, description="share of the samples, above 0, at most 1")
    select_num: int | None = Field(None, ge=1, description="number of samples, 1 or more")
    seed: int = Field(42, description="another one draws other samples; a whole number")


def paper(applicant: Applicant, params: RandomSelectorParams) -> None:
    """Nothing: the lot follows from the id."""
    return None


def choose(candidates: Sequence[Candidate], params: RandomSelectorParams, related: Related) -> Choice:
    """The samples with the lowest lots; all where there is one sample, or neither option is set."""
    number = share_or_number(params.select_ratio, params.select_num, of=len(candidates))
    if len(candidates) <= 1 or number is None:
        return Choice()
    lots = [_lot(candidate.sample_id, params.seed) for candidate in candidates]
    chosen = sorted(range(len(lots)), key=lots.__getitem__)[: int(number)]
    return all_but(candidates, set(chosen), says=f"its lot is not among the lowest {_taken(params)}")


def _lot(sample_id: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{sample_id}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def keeps(params: RandomSelectorParams) -> str:
    """The rule in words."""
    if params.select_ratio is None and params.select_num is None:
        return "everything"
    return f"{_taken(params)}, drawn by lot"


def _taken(params: RandomSelectorParams) -> str:
    return in_words(params.select_ratio, params.select_num)


OPERATOR = Whole(
    name="random_selector",
    version=1,
    summary="a random part of the samples, the same whatever order they arrive in",
    kind="selector",
    params=RandomSelectorParams,
    paper=paper,
    choose=choose,
    keeps=keeps,
)
