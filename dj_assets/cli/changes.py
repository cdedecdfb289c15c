"""What measuring again changed, as tables: verdicts before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dj_assets.cli.console import counted, print_lines, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.defs.rerun import RerunReport

MOST_CHANGES = 20


def print_changes(out: Console, report: RerunReport) -> None:
    """How many verdicts changed, from what to what, and the first of them one by one."""
    from dj_assets.defs.rerun import verdict_text

    name = report.run.recipe
    if not report.num_changes:
        print_lines(out, [f"{name}: {counted(report.samples, 'verdict')} compared, none changed"])
        return
    transitions = sorted(report.transitions.items(), key=lambda item: (-item[1], item[0]))
    rows = [(before, after, str(count)) for (before, after), count in transitions]
    print_table(out, ("verdict was", "is", "samples"), rows, numbers=("samples",))
    shown = report.changes[:MOST_CHANGES]
    changes = [(change.sample_id, verdict_text(change.before), verdict_text(change.after)) for change in shown]
    print_table(out, ("sample", "was", "is"), changes)
    more = report.num_changes - len(shown)
    lines = [f"... and {more} more"] if more else []
    print_lines(out, [*lines, f"{name}: {report.num_changes} of {counted(report.samples, 'verdict')} changed"])
    if report.moved_bounds:
        shards = counted(len(report.moved_bounds), "shard")
        print_lines(out, [f"note: the bounds had moved since {shards} was decided; that may be why"])
