"""What the page asks: counts, curves, samples near a bound, a bound from marks. Numbers in, numbers out; no HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from dj_assets.columns import FAILS, OK, PASSES, STATUS_NAMES, UNKNOWN, Codes, Columns, StepColumns
from dj_assets.errors import DjAssetsError
from dj_assets.operators._contract import Bound
from dj_assets.plan import Plan, Step
from dj_assets.ranges import in_words
from dj_assets.samples import Sample
from dj_assets.store import bulk, labels
from dj_assets.store.store import Store
from dj_assets.studio.bounds import (
    FieldFilter,
    Filter,
    State,
    StepBounds,
    bounds_of,
    check_state,
    ranges_under,
    state_of,
)
from dj_assets.studio.charts import (
    Flags,
    Floats,
    Places,
    axis_over,
    bars,
    deciding_values,
    keeps_above,
    kept_from,
    kept_with_anyway,
    of_videos,
    passes_end,
)
from dj_assets.studio.fit import fit_bound

TRADE_OFF_BINS = 48
MOST_NEAR = 24
CACHED = 64

Made = TypeVar("Made")
Show = Literal["totals", "bars", "curves"]


class _Cache:
    """The last results by key. The page asks for the same steps again with each move of one of them."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], Made]) -> Made:
        with self._lock:
            if key in self._made:
                self._made[key] = found = self._made.pop(key)
                return found
        made = make()
        with self._lock:
            self._made[key] = made
            while len(self._made) > CACHED:
                self._made.pop(next(iter(self._made)))
        return made


class Session:
    """A recipe's stored numbers, looked at under bounds that move. Safe to ask from several threads.

    whole: steps that decide over the whole dataset. They are in none of the counts, which the page says.
    """

    def __init__(self, plan: Plan, columns: Columns, store: Store) -> None:
        self.whole = plan.whole_steps
        self.plan = plan = plan.alone
        self.columns = columns = replace(
            columns, plan=plan, steps={step.key: columns.steps[step.key] for step in plan.steps}
        )
        self.store = store
        self.steps = {step.key: step for step in plan.steps}
        self.axes = {
            (key, stat.name): axis_over(one.values[line], _ends(one.step, stat.name))
            for key, one in columns.steps.items()
            for line, stat in enumerate(one.step.operator.stats)
        }
        self._places = {
            (key, stat.name): self.axes[key, stat.name].places(one.values[line])
            for key, one in columns.steps.items()
            for line, stat in enumerate(one.step.operator.stats)
        }
        self._cache = _Cache()
        self.shards = self._dictionary("shard")

    def take_plan(self, plan: Plan) -> None:
        """Take the bounds of the same recipe, written anew, for what it says. Raises `DjAssetsError` where its steps or
        measures are others: then the numbers at hand are not its own."""
        whole, plan = plan.whole_steps, plan.alone
        if [(s.key, s.measure_id, s.video_key) for s in plan.steps] != [
            (s.key, s.measure_id, s.video_key) for s in self.plan.steps
        ]:
            raise DjAssetsError(
                f"the steps of {plan.recipe.file} are others now",
                allowed="the steps and params that the studio was started with",
                try_="start dj-assets tune again",
            )
        steps = {step.key: replace(self.columns.steps[step.key], step=step) for step in plan.steps}
        self.whole = whole
        self.plan, self.columns = plan, replace(self.columns, plan=plan, steps=steps)
        self.steps = {step.key: step for step in plan.steps}
        self._cache = _Cache()

    def _dictionary(self, name: str) -> tuple[list[str], npt.NDArray[np.int64]]:
        encoded = self.columns.samples.column(name).combine_chunks().dictionary_encode()
        return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int64)

    # --- what there is

    def describe(self) -> dict[str, Any]:
        """The recipe, its steps and their axes, the shards, the fields of the records, and the bounds as they are."""
        columns = self.columns
        names, places = self.shards
        counts = np.bincount(places, minlength=len(names))
        return {
            "recipe": self.plan.recipe.name,
            "file": self.plan.recipe.file,
            "num_samples": columns.num_samples,
            "malformed": int(columns.malformed.sum()),
            "steps": [self._step(step) for step in self.plan.steps],
            "whole": [{"key": step.key, "keeps": step.keeps} for step in self.whole],
            "shards": [{"key": key, "samples": int(count)} for key, count in zip(names, counts, strict=True)],
            "fields": bulk.record_fields(self.store.root, self.plan.recipe.name),
            "state": state_of(self.plan).model_dump(),
            "labels": len(labels.read(self.store.root, self.plan.recipe.name)),
        }

    def _step(self, step: Step) -> dict[str, Any]:
        one = self.columns.steps[step.key]
        return {
            "key": step.key,
            "number": step.number,
            "summary": step.operator.summary,
            "of": "samples" if step.is_about_samples else "videos",
            "draws": step.operator.draw is not None,
            "is_reversed": any(range_.is_reversed for range_ in step.ranges),
            "panels": [
                {
                    "stat": stat.name,
                    "name": step.stat_names[line],
                    "unit": stat.unit,
                    "is_integer": stat.is_integer,
                    "axis": asdict(self.axes[step.key, stat.name]),
                    "measured": int((one.statuses[line] == OK).sum()),
                    "videos": len(one.samples),
                    "undecided": one.undecided_by_status(line),
                    "bounds": [
                        {"option": bound.option, "side": bound.side, "help": bound.help}
                        for bound in step.operator.bounds
                        if bound.stat == stat.name
                    ],
                }
                for line, stat in enumerate(step.operator.stats)
            ],
        }

    # --- counts

    def count(self, state: State, *, show: Show = "curves") -> dict[str, Any]:
        """How many samples are kept, dropped and undecided, together and by step.

        show: `bars` adds, per stat, what the other steps let through, and `curves` also how many would be kept wherever
        one end were set. Each takes several times as long as what is before it, and a mouse does not wait.
        """
        check_state(self.plan, state)
        mask = self._mask(state.filter)
        codes = {key: self._codes(key, bounds) for key, bounds in state.steps.items()}
        ordered = [codes[step.key] for step in self.plan.steps]
        worst = self._worst(ordered)
        failing, unknown, kept = ((worst == code) & mask for code in (FAILS, UNKNOWN, PASSES))
        before = self._saved() & mask
        num_kept, num_before = int(np.count_nonzero(kept)), int(np.count_nonzero(before))
        num_both = int(np.count_nonzero(kept & before))
        return {
            "samples": int(np.count_nonzero(mask)),
            "kept": num_kept,
            "dropped": int(np.count_nonzero(failing)),
            "undecided": int(np.count_nonzero(unknown)),
            "entering": num_kept - num_both,
            "leaving": num_before - num_both,
            "steps": self._by_step(ordered, mask),
            "panels": {} if show == "totals" else self._panels(state, ordered, mask, with_curves=show == "curves"),
        }

    def _panels(self, state: State, codes: Sequence[Codes], mask: Flags, *, with_curves: bool) -> dict[str, Any]:
        others = self._passing_others(codes, mask)
        return {
            f"{step.key}/{stat.name}": self._panel(step, stat.name, state, mask, others[number], with_curves)
            for number, step in enumerate(self.plan.steps)
            for stat in step.operator.stats
        }

    def _worst(self, codes: Sequence[Codes]) -> Codes:
        worst = np.zeros(self.columns.num_samples, dtype=np.uint8)
        for one in codes:
            np.maximum(worst, one, out=worst)
        worst[self.columns.malformed] = UNKNOWN
        return worst

    def _saved(self) -> Flags:
        """Samples that the recipe as it is keeps."""
        return self._cache.get("saved", lambda: self.columns.outcomes().kept)

    def _by_step(self, codes: Sequence[Codes], mask: Flags) -> dict[str, dict[str, int]]:
        left = mask & ~self.columns.malformed
        found = {}
        for step, one in zip(self.plan.steps, codes, strict=True):
            fails = one == FAILS
            found[step.key] = {
                "passes": int(np.count_nonzero((one == PASSES) & mask)),
                "fails": int(np.count_nonzero(fails & mask)),
                "unknown": int(np.count_nonzero((one == UNKNOWN) & mask)),
                "dropped": int(np.count_nonzero(fails & left)),
            }
            left = left & ~fails
        return found

    def _passing_others(self, codes: Sequence[Codes], mask: Flags) -> list[Flags]:
        """For each step, the samples that every other step lets pass."""
        blocked = np.zeros(self.columns.num_samples, dtype=np.uint8)
        for one in codes:
            blocked += one != PASSES
        usable = mask & ~self.columns.malformed
        return [usable & (blocked == (one != PASSES)) for one in codes]

    def _panel(
        self, step: Step, stat: str, state: State, mask: Flags, others: Flags, with_curves: bool
    ) -> dict[str, Any]:
        one = self.columns.steps[step.key]
        places, is_ok = self._places[step.key, stat], one.statuses[one.stat(stat)] == OK
        elsewhere = tuple(bounds.key for key, bounds in state.steps.items() if key != step.key)
        shown = self._cache.get(
            ("bars", step.key, stat, state.filter), lambda: bars(places, is_ok & of_videos(one, mask))
        )
        survivors = self._cache.get(
            ("survivors", step.key, stat, state.filter, elsewhere),
            lambda: bars(places, is_ok & of_videos(one, others)),
        )
        return {
            "all": shown,
            "survivors": survivors,
            "curves": {
                bound.side: self._curve(step, bound, state.steps[step.key], others, survivors)
                for bound in step.operator.bounds
                if bound.stat == stat and with_curves
            },
        }

    def _curve(self, step: Step, bound: Bound, bounds: StepBounds, others: Flags, survivors: list[int]) -> list[int]:
        """Samples kept if this end were at each edge of the axis, all else as it is: bins + 1 counts."""
        one = self.columns.steps[step.key]
        deciding = self._deciding(step, bound, bounds)
        key = ("end", step.key, bound.option, _without(bounds, bound).key)
        end = self._cache.get(key, lambda: self._end_of(one, bound, deciding))
        counted = survivors if end is None else bars(end[0], others & end[1])
        anyway = 0 if end is None else int(np.count_nonzero(others & end[2]))
        return (kept_from(np.asarray(counted), keeps_above(step, bound)) + anyway).tolist()

    def _end_of(self, one: StepColumns, bound: Bound, deciding: Floats) -> tuple[Places, Flags, Flags] | None:
        """(bins, which samples have one, which pass wherever the end lies) of the values that decide about an end; None
        where they are the stat's own, and every sample has one."""
        line = one.stat(bound.stat)
        axis = self.axes[one.step.key, bound.stat]
        inside, anyway = axis.inside(deciding), axis.beyond(deciding, above=keeps_above(one.step, bound))
        if one.is_one_each and np.array_equal(inside, one.statuses[line] == OK):
            return None
        return axis.places(deciding), inside, anyway

    def _codes(self, key: str, bounds: StepBounds) -> Codes:
        one = self.columns.steps[key]
        return self._cache.get(
            ("codes", key, bounds.key), lambda: one.codes(ranges_under(one.step, bounds), bounds.any_or_all)
        )

    def _deciding(self, step: Step, bound: Bound, bounds: StepBounds) -> Floats:
        one = self.columns.steps[step.key]
        elsewhere = _without(bounds, bound)
        return self._cache.get(
            ("deciding", step.key, bound.option, elsewhere.key),
            lambda: deciding_values(one, bound, ranges_under(step, elsewhere), bounds.any_or_all),
        )

    # --- which samples to look at

    def _mask(self, wanted: Filter) -> Flags:
        return self._cache.get(("filter", wanted), lambda: self._filtered(wanted))

    def _filtered(self, wanted: Filter) -> Flags:
        mask = np.ones(self.columns.num_samples, dtype=bool)
        if wanted.shards:
            names, places = self.shards
            chosen = np.array([name in wanted.shards for name in names], dtype=bool)
            mask &= chosen[places]
        if wanted.field is not None:
            mask &= self._field_mask(wanted.field)
        return mask

    def _field_mask(self, wanted: FieldFilter) -> Flags:
        texts = self._cache.get(("field", wanted.name), lambda: self._field(wanted.name))
        test = wanted.matcher()
        return np.fromiter((test(text) for text in texts), dtype=bool, count=len(texts))

    def _field(self, name: str) -> list[str | None]:
        """A field of every sample's record. Raises `DjAssetsError` where the store has other samples by now."""
        found = bulk.record_field(self.store.root, self.plan.recipe.name, name)
        if (
            not found.column("sample_id")
            .combine_chunks()
            .equals(self.columns.samples.column("sample_id").combine_chunks())
        ):
            raise DjAssetsError(
                f"recipe {self.plan.recipe.name} has been run since the studio was started",
                allowed="the samples that were read then",
                try_="start dj-assets tune again",
            )
        return found.column("field").to_pylist()

    # --- samples

    def near(self, state: State, step_key: str, option: str, *, most: int, only_survivors: bool) -> dict[str, Any]:
        """The samples nearest one end, on the side that it keeps and on the side that it drops, nearest first.

        only_survivors: those that every other step lets pass, for which this end decides.
        """
        check_state(self.plan, state)
        step, bound = self._end(step_key, option)
        limit = state.steps[step_key].bounds[option]
        mask = self._mask(state.filter)
        if only_survivors:
            codes = [self._codes(one.key, state.steps[one.key]) for one in self.plan.steps]
            mask = self._passing_others(codes, mask)[self.plan.steps.index(step)]
        deciding = self._deciding(step, bound, state.steps[step_key])
        usable = np.flatnonzero(mask & np.isfinite(deciding))
        values = deciding[usable]
        range_ = next(r for r in ranges_under(step, state.steps[step_key]) if r.stat == bound.stat)
        above = keeps_above(step, bound)
        if limit is not None:
            passes = passes_end(values, limit, range_, bound, step)
        else:
            # No limit keeps everything, and outside of no limit lies nothing: the first to change are at the very end.
            passes = np.full(len(values), not range_.is_reversed)
            if len(values):
                limit = float(values.min() if above != range_.is_reversed else values.max())
        marks = labels.read(self.store.root, self.plan.recipe.name)
        found = {}
        for name, chosen in (("kept", passes), ("dropped", ~passes)):
            of_side = np.flatnonzero(chosen)
            nearest = of_side[np.argsort(np.abs(values[of_side] - (limit or 0.0)), kind="stable")[:most]]
            found[name] = [
                self._card(int(usable[place]), step_key, bound.stat, float(values[place]), marks) for place in nearest
            ]
        return {"limit": limit, **found, "num_kept": int(passes.sum()), "num_dropped": int((~passes).sum())}

    def undecided(self, state: State, step_key: str, *, most: int) -> list[dict[str, Any]]:
        """Samples that one step cannot decide, with the reason."""
        check_state(self.plan, state)
        codes = self._codes(step_key, state.steps[step_key])
        found = np.flatnonzero((codes == UNKNOWN) & self._mask(state.filter))[:most]
        marks = labels.read(self.store.root, self.plan.recipe.name)
        return [self._card(int(number), step_key, None, None, marks) for number in found]

    def _card(
        self, number: int, step_key: str, stat: str | None, value: float | None, marks: Mapping[str, labels.Label]
    ) -> dict[str, Any]:
        """A sample for the gallery: its id, its mark, and the video that decides: with this value, or without any."""
        one = self.columns.steps[step_key]
        first, last = (int(at) for at in np.searchsorted(one.samples, (number, number + 1)))
        if first == last:
            return {"number": number, "sample_id": self.columns.sample_id(number), "video": None, "name": "",
                    "value": value, "status": "ok", "reason": "", "label": None}  # fmt: skip
        if stat is None or value is None:
            at = first + int(np.argmax((one.statuses[:, first:last] != OK).any(axis=0)))
        else:
            at = first + int(np.nanargmin(np.abs(one.values[one.stat(stat), first:last] - value)))
        status = STATUS_NAMES[int(one.statuses[:, at].max())]
        place = self.columns.first_video(number) if one.step.is_about_samples else int(one.rows[at])
        if place is None:
            return {"number": number, "sample_id": self.columns.sample_id(number), "video": None,
                    "name": self.columns.sample_id(number),
                    "value": value, "status": status, "reason": one.reasons.get(at, ""), "label": None}  # fmt: skip
        video = self.columns.videos[place].as_py()
        mark = marks.get(video["content_hash"])
        return {
            "number": number,
            "sample_id": self.columns.sample_id(number),
            "video": place,
            "name": video["given"],
            "value": value,
            "status": status,
            "reason": one.reasons.get(at, "")
            if one.step.is_about_samples
            else video["reason"] or self._reason(one.step, video["content_hash"], status),
            "label": None if mark is None else ("keep" if mark.keep else "drop"),
        }

    def _reason(self, step: Step, content_hash: str, status: str) -> str:
        """Why a measure has no number of a video, in words."""
        if status == "ok":
            return ""
        if status == "not_measured":
            return "nobody has asked this measure about it yet"
        stat = step.operator.stats[0].name
        return self._cache.get(
            ("reason", step.measure_id, content_hash),
            lambda: bulk.reason(self.store.root, step.operator.name, step.measure_id, content_hash, stat),
        )

    def sample(self, number: int, state: State) -> dict[str, Any]:
        """One sample: its record, its videos and what each step says of them."""
        check_state(self.plan, state)
        sample = self._sample(number)
        made = []
        for step in self.plan.steps:
            one = self.columns.steps[step.key]
            first, last = np.searchsorted(one.samples, (number, number + 1))
            code = int(self._codes(step.key, state.steps[step.key])[number])
            made.append(
                {
                    "step": step.key,
                    "answer": ("passes", "unknown", "fails")[code],
                    "bounds": in_words(ranges_under(step, state.steps[step.key])),
                    "draws": step.operator.draw is not None,
                    "previews": step.operator.preview_panels > 0,
                    "videos": [
                        {
                            "video": None if step.is_about_samples else int(one.rows[at]),
                            "values": {
                                stat.name: None if np.isnan(one.values[line, at]) else float(one.values[line, at])
                                for line, stat in enumerate(step.operator.stats)
                            },
                            "status": STATUS_NAMES[int(one.statuses[:, at].max())],
                        }
                        for at in range(int(first), int(last))
                    ],
                }
            )
        first, last = np.searchsorted(self.columns.video_samples, (number, number + 1))
        videos = zip(range(int(first), int(last)), sample.videos, strict=True)
        return {
            "number": number,
            "sample_id": sample.sample_id,
            "status": sample.status,
            "reason": sample.reason,
            "steps": made,
            "videos": [
                {"video": at, "name": v.given, "path": v.path, "status": v.status, "reason": v.reason}
                for at, v in videos
            ],
        }

    def _shown_for(self, one: StepColumns) -> list[int | None]:
        """The video that stands for each subject of a step: itself, or a sample's first, which is what people mark."""
        if one.step.is_about_samples:
            return [self.columns.first_video(number) for number in range(self.columns.num_samples)]
        return one.rows.tolist()

    def _sample(self, number: int) -> Sample:
        if not 0 <= number < self.columns.num_samples:
            raise DjAssetsError(
                f"sample {number} is not there", allowed=f"0 to {self.columns.num_samples - 1}", try_="reload the page"
            )
        return self.columns.sample(number)

    def _end(self, step_key: str, option: str) -> tuple[Step, Bound]:
        for step in self.plan.steps:
            for bound in step.operator.bounds:
                if (step.key, bound.option) == (step_key, option):
                    return step, bound
        raise DjAssetsError(
            f"{step_key}.{option} is no bound of this recipe",
            allowed=", ".join(f"{s.key}.{b.option}" for s in self.plan.steps for b in s.operator.bounds),
            try_="reload the page; the recipe may have changed",
        )

    # --- two bounds at once

    def trade_off(self, state: State, x: tuple[str, str], y: tuple[str, str]) -> dict[str, Any]:
        """How many samples lie where, by the values that decide about two ends, and how many would be kept with the
        ends at each crossing. x, y: (step key, option), of different steps."""
        check_state(self.plan, state)
        if x[0] == y[0]:
            raise DjAssetsError(
                f"{x[1]} and {y[1]} are both of {x[0]}",
                allowed="bounds of two different steps",
                try_="choose another step for one of them",
            )
        (step_x, bound_x), (step_y, bound_y) = self._end(*x), self._end(*y)
        blocked = np.zeros(self.columns.num_samples, dtype=bool)
        for step in self.plan.steps:
            if step not in (step_x, step_y):
                blocked |= self._codes(step.key, state.steps[step.key]) != PASSES
        values = [self._deciding(s, b, state.steps[s.key]) for s, b in ((step_x, bound_x), (step_y, bound_y))]
        usable = self._mask(state.filter) & ~self.columns.malformed & ~blocked
        axes = [
            replace(self.axes[s.key, b.stat], bins=TRADE_OFF_BINS) for s, b in ((step_x, bound_x), (step_y, bound_y))
        ]
        # One bin more, for what passes wherever the end lies on the axis.
        places = []
        for axis, v, (one_step, one_bound) in zip(axes, values, ((step_x, bound_x), (step_y, bound_y)), strict=True):
            anyway = axis.beyond(v, above=keeps_above(one_step, one_bound))
            usable &= axis.inside(v) | anyway
            places.append(np.where(anyway, TRADE_OFF_BINS, axis.places(v)).astype(np.int64))
        across, up = (place[usable] for place in places)
        side = TRADE_OFF_BINS + 1
        counts = np.bincount(up * side + across, minlength=side**2).reshape(side, side)
        kept = np.apply_along_axis(kept_with_anyway, 1, counts, keeps_above(step_x, bound_x))
        kept = np.apply_along_axis(kept_with_anyway, 0, kept, keeps_above(step_y, bound_y))
        grid = counts[:-1, :-1]
        return {"x": asdict(axes[0]), "y": asdict(axes[1]), "counts": grid.tolist(), "kept": kept.tolist()}

    # --- marks

    def mark(self, video: int, keep: bool | None) -> int:
        """Mark a video keep or drop, or take the mark back. Returns how many marks there are."""
        found = self.video(video)
        if not found["content_hash"]:
            raise DjAssetsError(
                f"{found['given']} could not be read, so it cannot be known again",
                allowed="videos with a content hash",
                try_="mend the file and measure again",
            )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        label = None if keep is None else labels.Label(keep, found["path"], now)
        return len(labels.change(self.store.root, self.plan.recipe.name, {found["content_hash"]: label}))

    def video(self, number: int) -> dict[str, Any]:
        """A video of the recipe as its samples list it, by its number."""
        if not 0 <= number < len(self.columns.videos):
            raise DjAssetsError(
                f"video {number} is not there", allowed=f"0 to {len(self.columns.videos) - 1}", try_="reload the page"
            )
        return dict(self.columns.videos[number].as_py())

    def fit(self, state: State, step_key: str, option: str) -> dict[str, Any]:
        """A bound proposed from the marks. Raises `DjAssetsError` where they cannot say anything."""
        check_state(self.plan, state)
        step, bound = self._end(step_key, option)
        marks = labels.read(self.store.root, self.plan.recipe.name)
        values, keep = self._marked(step, bound, state.steps[step_key], marks)
        side: Literal["min", "max"] = "min" if keeps_above(step, bound) else "max"
        without_number = len(marks) - len(keep)
        return {**asdict(fit_bound(values, keep, side=side)), "marks": len(marks), "without_number": without_number}

    def _marked(
        self, step: Step, bound: Bound, bounds: StepBounds, marks: dict[str, labels.Label]
    ) -> tuple[Floats, Flags]:
        """Values and marks of the marked videos of this step that have a number and meet the step's other ranges."""
        import pyarrow as pa
        import pyarrow.compute as pc

        one = self.columns.steps[step.key]
        hashes = self.columns.videos.field("content_hash").take(pa.array(self._shown_for(one)))
        values = one.values[one.stat(bound.stat)]
        others = np.zeros(len(values), dtype=np.uint8)
        for range_ in ranges_under(step, _without(bounds, bound)):
            if range_.stat != bound.stat:
                np.maximum(others, one.range_codes(range_), out=others)
        found = {}
        for at in np.flatnonzero(
            np.asarray(pc.is_in(hashes, value_set=pa.array(list(marks), type=pa.string())))
        ).tolist():
            if np.isfinite(values[at]) and others[at] == PASSES:
                found[hashes[at].as_py()] = (float(values[at]), marks[hashes[at].as_py()].keep)
        pairs = list(found.values())
        return np.array([value for value, _ in pairs]), np.array([keep for _, keep in pairs], dtype=bool)


def _without(bounds: StepBounds, bound: Bound) -> StepBounds:
    """The same but for one end: where that lies does not matter to what decides about it."""
    return bounds.model_copy(update={"bounds": {**bounds.bounds, bound.option: None}})


def _ends(step: Step, stat: str) -> list[float]:
    """What an axis has to show besides the values: bounds, or both answers of a yes or no."""
    if any(one.is_flag for one in step.operator.stats if one.name == stat):
        return [0.0, 1.0]
    bounds = bounds_of(step).bounds
    named = [bounds[bound.option] for bound in step.operator.bounds if bound.stat == stat]
    return [value for value in named if value is not None]
