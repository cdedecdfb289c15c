"""Samples as operators over the whole dataset see them, made by hand; and whom such an operator keeps of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dj_assets import operators
from dj_assets.operators._whole import Applicant, Candidate, Choice, Whole


def whole(name: str) -> Whole:
    """The operator of that name."""
    found = operators.get(name)
    assert isinstance(found, Whole)
    return found


def applicant(
    number: int,
    *,
    record: Mapping[str, Any] | None = None,
    text: str | None = None,
    videos: Sequence[tuple[str, Sequence[str]]] = (),
) -> Applicant:
    """Sample `s<number>`. videos: path and details of each."""
    paths, details = tuple(path for path, _ in videos), tuple(tuple(texts) for _, texts in videos)
    return Applicant(f"s{number}", record or {}, text, paths, details)


def chosen(name: str, applicants: Sequence[Applicant], **options: Any) -> Choice:
    """The choice among them, by way of JSON, as between two runs."""
    operator = whole(name)
    params = operator.params(**options)
    candidates = [Candidate(one.sample_id, json.dumps(operator.paper(one, params))) for one in applicants]
    papers = list(dict.fromkeys(candidate.text for candidate in candidates))
    related: dict[str, list[tuple[str, float]]] = {}
    for first, second, weight in operator.relate(map_json(papers), params, 0) if operator.relate else ():
        related.setdefault(papers[first], []).append((papers[second], weight))
        related.setdefault(papers[second], []).append((papers[first], weight))
    return operator.choose(candidates, params, related)


def map_json(texts: Sequence[str]) -> list[Any]:
    """What these texts stand for."""
    return [json.loads(text) for text in texts]


def kept(name: str, applicants: Sequence[Applicant], **options: Any) -> list[int]:
    """Numbers of the samples that stay."""
    dropped = chosen(name, applicants, **options).dropped
    return [int(one.sample_id[1:]) for one in applicants if one.sample_id not in dropped]


def of_values(field: str, values: Sequence[Any]) -> list[Applicant]:
    """A sample per value of one field, which may be dotted."""
    made = []
    for number, value in enumerate(values, start=1):
        record: Any = value
        for name in reversed(field.split(".")):
            record = {name: record}
        made.append(applicant(number, record=record))
    return made
