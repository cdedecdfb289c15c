"""What a recipe says of a sample, in words."""

from __future__ import annotations

from dj_assets.diff import Standing

MOST_VALUES = 4


def standing_text(one: Standing) -> str:
    """`dropped by video_motion_score_filter: 2.4, not video_motion_score >= 3 (-0.6)`."""
    number = (
        f"{values_text(one)}, {'not ' * (one.outcome == 'dropped')}{one.bound}{margin_text(one)}" if one.step else ""
    )
    if one.outcome == "dropped":
        return f"dropped by {one.step}: {number}"
    if one.outcome == "kept":
        return f"kept: {number}" if number else "kept"
    if one.outcome == "undecided":
        step = f" at {one.step}" if one.step else ""
        exported = ", exported" if one.is_exported else ""
        return f"undecided{exported}{step}: {one.status}{f', {one.reason}' if one.reason else ''}"
    if one.outcome == "not_measured":
        return f"not measured: {', '.join(one.not_measured)}"
    return "not in the dataset"


def values_text(one: Standing) -> str:
    """The videos' numbers, the first few: `2.4, none`."""
    shown = ["none" if value is None else f"{value:.6g}" for value in one.values[:MOST_VALUES]]
    more = len(one.values) - len(shown)
    return ", ".join([*shown, f"and {more} more"] if more else shown)


def margin_text(one: Standing) -> str:
    """` (-0.6)`, and nothing where there is no limit."""
    return "" if one.margin is None else f" ({one.margin:+.4g})"
