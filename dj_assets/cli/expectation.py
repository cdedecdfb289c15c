"""What videos have cost → what others may cost: in the unit of work in whose terms the known costs differ least."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Amounts = Mapping[str, float]
"""What a video amounts to, by unit of work; only the units in which that is known."""

PREFERRED = ("megapixel-seconds", "bytes", "megapixels", "seconds", "videos")
"""Units, from the one that most operators' work goes by: whatever decodes all of a video looks at all its pixels. An
operator that looks at three frames costs by megapixels, one that scales them first by seconds or by the video."""

FEW = 5
"""Of fewer known costs a unit may be the best by chance: it goes after those of which more is known, in that order."""


Picture = tuple[float, float]
"""(megapixels, seconds) of a video."""


def picture_of(probe: Mapping[str, Any]) -> Picture:
    """probe: as `store.probes` has it."""
    return (probe["width"] or 0) * (probe["height"] or 0) / 1e6, probe["duration_seconds"] or 0.0


def amounts_of(num_bytes: int | None, picture: Picture | None) -> Amounts:
    """num_bytes: of the file, None where only its content is known. picture: None where nobody has opened it."""
    megapixels, seconds = picture or (0.0, 0.0)
    every = {
        "megapixel-seconds": megapixels * seconds,
        "bytes": float(num_bytes or 0),
        "megapixels": megapixels,
        "seconds": seconds,
        "videos": 1.0,
    }
    return {unit: amount for unit, amount in every.items() if amount > 0}


class Expectation:
    """Learned from (worker seconds, what the video amounts to) of some videos."""

    def __init__(self, seen: Sequence[tuple[float, Amounts]]) -> None:
        rates: dict[str, float] = {}
        ranks: dict[str, tuple[bool, float, int]] = {}
        for unit in PREFERRED:
            known = [(seconds, amounts[unit]) for seconds, amounts in seen if amounts.get(unit)]
            if known:
                rates[unit] = math.fsum(seconds for seconds, _ in known) / math.fsum(amount for _, amount in known)
                few = len(known) < FEW
                ranks[unit] = (few, 0.0 if few else _error(known, rates[unit]), PREFERRED.index(unit))
        self._rates = rates
        self.units = sorted(rates, key=ranks.__getitem__)
        """From the best one."""

    def seconds(self, amounts: Amounts) -> float | None:
        """Worker seconds of one video, by the best unit in which it is known; None where nothing was learned."""
        unit = next((unit for unit in self.units if unit in amounts), None)
        return None if unit is None else self._rates[unit] * amounts[unit]

    def total_seconds(self, every: Iterable[Amounts]) -> float | None:
        """Of several videos; None where one of them cannot be told."""
        seconds = [self.seconds(amounts) for amounts in every]
        known = [one for one in seconds if one is not None]
        return math.fsum(known) if len(known) == len(seconds) else None


def _error(known: Sequence[tuple[float, float]], rate: float) -> float:
    """Mean distance of the costs from the rate's, as a share of the mean cost; two digits, lest noise decides."""
    total = math.fsum(seconds for seconds, _ in known)
    return round(math.fsum(abs(seconds - rate * amount) for seconds, amount in known) / total, 2) if total else 0.0
