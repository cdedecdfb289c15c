"""The values of a stat that pass: between two ends, or outside them; and when no value can be meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dj_assets.operators._contract import MAX_INT, Stat


@dataclass(frozen=True)
class StatRange:
    """The values of one stat that pass: between low and high, each end closed or open, or all others if reversed."""

    stat: str
    low: float
    high: float
    low_closed: bool = True
    high_closed: bool = True
    is_reversed: bool = False
    low_is_set: bool = True
    high_is_set: bool = True

    def passes(self, value: float) -> bool:
        """Data-Juicer's keep test. `reversed_range` negates, with both closed flags flipped, as upstream does:
        by default the ends themselves are kept on both sides."""
        low_closed = self.low_closed != self.is_reversed
        high_closed = self.high_closed != self.is_reversed
        above = value >= self.low if low_closed else value > self.low
        below = value <= self.high if high_closed else value < self.high
        return (above and below) != self.is_reversed

    def __str__(self) -> str:
        low = f"{self.stat} {'>=' if self.low_closed else '>'} {self.low:.10g}"
        high = f"{self.stat} {'<=' if self.high_closed else '<'} {self.high:.10g}"
        if self.is_reversed:
            low = f"{self.stat} {'<=' if self.low_closed else '<'} {self.low:.10g}"
            high = f"{self.stat} {'>=' if self.high_closed else '>'} {self.high:.10g}"
        shown = [text for text, is_set in ((low, self.low_is_set), (high, self.high_is_set)) if is_set]
        return (" or " if self.is_reversed else " and ").join(shown or [low, high])

    @property
    def limits(self) -> tuple[float, ...]:
        """The ends that refuse something: without those that are not set, or are Data-Juicer's words for no limit."""
        ends = ((self.low, self._low_limits), (self.high, self._high_limits))
        return tuple(end for end, limits in ends if limits)

    @property
    def in_words(self) -> str:
        """As `str`, for people: of the ends only the `limits`. Empty where every value passes."""
        if self.limits:
            return str(replace(self, low_is_set=self._low_limits, high_is_set=self._high_limits))
        return f"no {self.stat}" if self.is_reversed else ""

    @property
    def _low_limits(self) -> bool:
        return self.low_is_set and self.low > -MAX_INT

    @property
    def _high_limits(self) -> bool:
        return self.high_is_set and self.high < MAX_INT


def in_words(ranges: Sequence[StatRange]) -> str:
    """What passes all of these ranges, for people: `everything` where none refuses a value."""
    return " and ".join(words for range_ in ranges if (words := range_.in_words)) or "everything"


def yes_or_no(stat: Stat, *, passes: bool) -> StatRange:
    """The range of a stat that is yes or no. passes: which of them does."""
    if passes:
        return StatRange(stat.name, 1.0, float("inf"), high_is_set=False)
    return StatRange(stat.name, float("-inf"), 0.0, low_is_set=False)


def impossible(range_: StatRange, stat: Stat, *, of: str = "video") -> str:
    """Why no bound of a range can be meant: it splits nothing. Empty where it can. of: what the stat is of."""
    low, high = f"{range_.low:.10g}", f"{range_.high:.10g}"
    outcome = f"every {of} passes" if range_.is_reversed else f"no {of} can pass"
    if range_.low > range_.high:
        return f"{low} is above {high}, so {outcome}"
    if range_.low == range_.high and not (range_.low_closed and range_.high_closed):
        return f"both are {low} and an end is open, so {outcome}"
    if range_.high < stat.low:
        return f"{high} is below {stat.low:g}, which every value reaches, so {outcome}"
    if range_.low > stat.high:
        return f"{low} is above {stat.high:g}, which no value passes, so {outcome}"
    return ""
