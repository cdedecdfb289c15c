"""Verdicts of steps that look at the whole dataset at once, over shards that come one by one.

    a shard's samples + tables ─vote─► ballots     once, when the shard is decided
    ballots of all shards ─choose─► who goes, why  in the order of the dataset, whatever order the shards came in
    verdicts alone + who goes ─► verdicts          written where they have changed

A sample is dropped by the first failing step in the order of the recipe. Candidates of a step over the whole dataset
are the samples that every step before it lets pass for certain: who is undecided at one of those stays undecided, and
stands in nobody's way. What comes after the step does not matter to it, as in Data-Juicer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dj_assets.decide import decide, facts_by_key, step_passes
from dj_assets.errors import DjAssetsError, StoreError
from dj_assets.export import stats_by_sample
from dj_assets.operators._whole import Applicant, Candidate, Related
from dj_assets.plan import Plan, Rule, Step
from dj_assets.samples import STATS_FIELD, Sample
from dj_assets.store.rows import Ballot, Provenance, Relations, Row, Verdict
from dj_assets.store.store import Store


@dataclass(frozen=True)
class Vote:
    """What one shard brings. alone: the verdict on each sample if nobody had to make room for another. ballots: of the
    same samples, in the same order."""

    alone: tuple[Verdict, ...]
    ballots: tuple[Ballot, ...]


def vote(plan: Plan, samples: Sequence[Sample], tables: Mapping[str, Sequence[Row]]) -> Vote:
    """Of one shard. tables: rows by step key, as `decide` takes them.

    Raises ValueError as `decide` does, and `StoreError` where a sample cannot take part in a step.
    """
    alone = decide(plan, samples, tables)
    facts = [facts_by_key(tables.get(step.key, ())) for step in plan.steps]
    papers = _Papers(plan, samples, tables)
    ballots = []
    for sample in samples:
        if sample.status != "ok":
            ballots.append(Ballot(sample.sample_id, unknown=0, papers=("",) * len(plan.whole_steps)))
            continue
        answers = [step_passes(step, sample, found) for step, found in zip(plan.steps, facts, strict=True)]
        failing, unknown = (_first(answers, answer) for answer in (False, None))
        ballots.append(Ballot(sample.sample_id, failing, unknown, papers.of(sample, failing, unknown)))
    return Vote(tuple(alone), tuple(ballots))


def _first(answers: Sequence[bool | None], wanted: bool | None) -> int | None:
    return next((place for place, answer in enumerate(answers) if answer is wanted), None)


class _Papers:
    """What each sample of a shard shows to the steps over the whole dataset."""

    def __init__(self, plan: Plan, samples: Sequence[Sample], tables: Mapping[str, Sequence[Row]]) -> None:
        self.plan = plan
        self.stats = stats_by_sample(plan.filters, samples, tables)
        self.details = {
            step.key: {
                (row.sample_id, row.field, row.position): row.fact.window_details for row in tables.get(step.key, ())
            }
            for step in plan.whole_steps
        }

    def of(self, sample: Sample, failing: int | None, unknown: int | None) -> tuple[str, ...]:
        """JSON per step, empty where a step before it, or its own measure, does not let the sample pass."""
        found = []
        for step, rule in _rules(self.plan):
            place = self.plan.steps.index(step)
            barred = (failing is not None and failing < place) or (unknown is not None and unknown <= place)
            found.append("" if barred else json.dumps(self._paper(step, rule, place, sample)))
        return tuple(found)

    def _paper(self, step: Step, rule: Rule, place: int, sample: Sample) -> Any:
        with _naming(step):
            return rule.whole.paper(self._applicant(step, rule, place, sample), rule.params)

    def _applicant(self, step: Step, rule: Rule, place: int, sample: Sample) -> Applicant:
        videos = [video for video in sample.videos if video.field == step.video_key]
        details = self.details[step.key]
        text = sample.record.get(rule.text_key)
        return Applicant(
            sample_id=sample.sample_id,
            record=self._record(place, sample),
            text=text if isinstance(text, str) else None,
            paths=tuple(video.path for video in videos),
            details=tuple(details[sample.sample_id, video.field, video.position] for video in videos)
            if step.operator.stats
            else (),
        )

    def _record(self, place: int, sample: Sample) -> Mapping[str, Any]:
        """The user's record, with what the steps before this one measured, as exports have it."""
        earlier = {name for step in self.plan.steps[:place] if step.rule is None for name in step.stat_names}
        measured = {name: value for name, value in self.stats[sample.sample_id].items() if name in earlier}
        own = sample.record.get(STATS_FIELD)
        return {**sample.record, STATS_FIELD: {**(own if isinstance(own, dict) else {}), **measured}}


@contextmanager
def _naming(step: Step) -> Iterator[None]:
    """What an operator says of its samples, with the step that says it."""
    try:
        yield
    except DjAssetsError as error:
        raise StoreError(f"{step.key}: {error.given}", allowed=error.allowed, try_=error.try_) from error


def _rules(plan: Plan) -> Iterable[tuple[Step, Rule]]:
    return [(step, step.rule) for step in plan.steps if step.rule is not None]


Recall = Callable[[Step], Relations]
Remember = Callable[[Step, Relations], None]


def choose(
    plan: Plan,
    ballots: Iterable[Ballot],
    *,
    recall: Recall = lambda step: Relations(),
    remember: Remember = lambda step, relations: None,
) -> dict[str, Verdict]:
    """Whom the steps over the whole dataset drop: sample id → verdict. ballots: of every shard, in the dataset's order.

    recall, remember: which papers of a step were related to each other before, so that only new ones are compared. They
    spare time and change nothing. Raises `StoreError` where a step cannot choose among these samples.
    """
    everybody = list(ballots)
    gone: dict[str, Verdict] = {}
    for number, (step, rule) in enumerate(_rules(plan)):
        candidates = [
            Candidate(ballot.sample_id, ballot.papers[number])
            for ballot in everybody
            if ballot.papers[number] and ballot.sample_id not in gone
        ]
        with _naming(step):
            related: Related = {}
            if rule.whole.relate is not None:
                known = recall(step)
                relations, related = _related(rule, [candidate.text for candidate in candidates], known)
                if relations != known:
                    remember(step, relations)
            choice = rule.whole.choose(candidates, rule.params, related)
        for sample_id, reason in choice.dropped.items():
            gone[sample_id] = Verdict(
                sample_id,
                "dropped",
                step=step.key,
                operator=step.operator.name,
                bound=rule.keeps,
                reason=reason,
                in_favour_of=choice.of.get(sample_id, ""),
            )
    return gone


def _related(rule: Rule, texts: Sequence[str], known: Relations) -> tuple[Relations, Related]:
    """The relations among these papers, and the same by text; pairs of two that are known are not asked for again."""
    assert rule.whole.relate is not None
    by_digest = {hashlib.blake2b(text.encode(), digest_size=12).hexdigest(): text for text in texts}
    kept = [place for place, digest in enumerate(known.papers) if digest in by_digest]
    places = {place: number for number, place in enumerate(kept)}
    old = [known.papers[place] for place in kept]
    new = by_digest.keys() - set(old)
    papers = [*old, *(digest for digest in by_digest if digest in new)]
    pairs = [
        (places[first], places[second], weight)
        for first, second, weight in known.pairs
        if first in places and second in places
    ]
    if new:
        texts = [by_digest[digest] for digest in papers]
        # At once: a hundred thousand small texts take several times as long.
        pairs += rule.whole.relate(json.loads(f"[{','.join(texts)}]"), rule.params, len(old))
    related: dict[str, list[tuple[str, float]]] = {}
    for first, second, weight in pairs:
        one, other = by_digest[papers[first]], by_digest[papers[second]]
        related.setdefault(one, []).append((other, weight))
        related.setdefault(other, []).append((one, weight))
    return Relations(tuple(papers), tuple(pairs)), related


def verdicts_on(alone: Iterable[Verdict], gone: Mapping[str, Verdict]) -> list[Verdict]:
    """The verdicts of one shard. A candidate of a step fails none before it, so that step's verdict comes first."""
    return [gone.get(verdict.sample_id, verdict) for verdict in alone]


# --- in a store


@dataclass(frozen=True)
class Settled:
    """One shard's verdicts as they were written. version: digest of what they follow from, and of them."""

    verdicts: tuple[Verdict, ...]
    version: str
    path: Path


def cast(plan: Plan, store: Store, shard: str, vote: Vote, *, inputs: str, provenance: Provenance) -> None:
    """Write down what a shard brings. inputs: digest of the samples and tables that it was made from.

    `settle` counts it from now on.
    """
    origin = replace(provenance, code_version=f"{plan.bounds_id}:{inputs}")
    with store.settling(plan.recipe.name):
        store.write_ballots(plan.recipe.name, shard, vote.ballots, vote.alone, origin)


def settle(
    plan: Plan,
    store: Store,
    shards: Sequence[str],
    *,
    anyway: Collection[str],
    provenance: Callable[[str], Provenance],
) -> dict[str, Settled]:
    """Choose among all that was cast, and write the verdicts that have changed. Decodes nothing, reads no stats table.

    The caller holds `store.settling`. shards: of the dataset, in its order; those that cast nothing under today's
    bounds do not take part. anyway: shards to write whether or not they have changed. provenance: of a shard's
    verdicts. A kill leaves some tables written; what was settled is noted last, so the next time writes the rest.
    """
    recipe = plan.recipe.name
    polls = {shard: poll for shard in shards if (poll := _poll(plan, store, shard)) is not None}
    gone = choose(
        plan,
        (ballot for poll in polls.values() for ballot in poll.ballots),
        recall=lambda step: store.recall_relations(recipe, step.key, _relation_id(step)),
        remember=lambda step, found: store.remember_relations(recipe, step.key, _relation_id(step), found),
    )
    versions = {shard: poll.version(gone) for shard, poll in polls.items()}
    known = store.read_settled(recipe)
    written: dict[str, Settled] = {}
    for shard, version in versions.items():
        is_there = known.get(shard) == version and store.verdicts_path(recipe, shard).exists()
        if shard in anyway or not is_there:
            verdicts = verdicts_on(store.read_alone(recipe, shard), gone)
            path = store.write_verdicts(recipe, shard, verdicts, provenance(shard))
            written[shard] = Settled(tuple(verdicts), version, path)
    store.write_settled(recipe, versions)
    return written


def _relation_id(step: Step) -> str:
    return step.rule.whole.rule_id(step.rule.params) if step.rule is not None else ""


@dataclass(frozen=True)
class _Poll:
    """What a shard has cast."""

    ballots: Sequence[Ballot]
    inputs: str

    def version(self, gone: Mapping[str, Verdict]) -> str:
        drops = [gone[ballot.sample_id] for ballot in self.ballots if ballot.sample_id in gone]
        facts = [self.inputs, [[one.sample_id, one.step, one.reason, one.in_favour_of] for one in drops]]
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _poll(plan: Plan, store: Store, shard: str) -> _Poll | None:
    found = store.read_ballots(plan.recipe.name, shard)
    if found is None:
        return None
    ballots, origin = found
    bounds_id, _, inputs = origin.partition(":")
    return _Poll(ballots, origin) if bounds_id == plan.bounds_id and inputs else None
