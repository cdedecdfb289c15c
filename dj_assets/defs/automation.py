"""When an asset is materialized without being asked."""

from __future__ import annotations

import dagster as dg


def follows_its_inputs() -> dg.AutomationCondition:
    """Materialize a shard when an input of it has other content, once all inputs are there and nobody is at work.

    Not when a partition is new: the sensor's run makes all assets of that. Not when code has changed: an option of OCR
    would start a week of work; the web interface and `dj-assets stale` show it, and people start the backfill.
    """
    changed = dg.AutomationCondition.data_version_changed() | dg.AutomationCondition.will_be_requested()
    return (
        dg.AutomationCondition.any_deps_match(changed).since_last_handled()
        & ~dg.AutomationCondition.missing()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("an input has other content")
