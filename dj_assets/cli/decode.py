"""What `dj-assets plan --decode` tells of one video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dj_assets.cli.console import counted, print_lines, print_table
from dj_assets.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.decode_report import DecodeReport
    from dj_assets.plan import Pass, Plan


def report_passes(made: Plan, given: str) -> dict[str, DecodeReport]:
    """What each pass on frames would do for a video. Raises `RecipeError` where there is none, and `MediaError`."""
    from dj_assets.decode_report import report_decode
    from dj_assets.measure import media_limits
    from dj_assets.samples import Video
    from dj_assets.video.safe_open import identify

    passes = [pass_ for pass_ in made.passes if pass_.compute not in ("record", "header")]
    if not passes:
        raise RecipeError(
            f"recipe {made.recipe.name} decodes nothing",
            allowed="a recipe with a step that looks at frames",
            try_="its steps read packets only",
            file=made.recipe.file,
        )
    path = Path(given).absolute()
    limits, roots = made.recipe.settings.limits, [*made.roots, path.parent]  # who types a path may have it read
    found = identify(str(path), roots=roots, limits=media_limits(limits))
    video = Video("", 0, given, str(path), found.content_hash, found.num_bytes, found.modified_ns)
    return {pass_.compute: report_decode(pass_, video, roots=roots, limits=limits) for pass_ in passes}


def print_decode(out: Console, made: Plan, given: str, found: Mapping[str, DecodeReport]) -> None:
    """One table of steps and one of packets per pass."""
    from dj_assets.store.probes import stream_line

    for number, pass_ in enumerate(pass_ for pass_ in made.passes if pass_.compute in found):
        report = found[pass_.compute]
        if not number:
            print_lines(out, [given, stream_line(report.probed), ""])
        print_lines(out, [f"pass {pass_.compute}"])
        print_table(out, ("step", "windows", "frames", "seen as"), _steps(pass_, report), numbers=("windows", "frames"))
        print_table(out, ("packets", "", ""), _packets(report), numbers=("",))
        print_lines(out, [*_how(report), ""])


def _steps(pass_: Pass, report: DecodeReport) -> Iterator[tuple[str, ...]]:
    for step, told in zip(pass_.steps, report.steps, strict=True):
        yield step.key, str(told.windows), str(told.frames), told.why_not or told.look


def _packets(report: DecodeReport) -> Iterator[tuple[str, str, str]]:
    counts = report.counts
    if counts is None or not report.frames:
        return
    yield "sent to the decoder", str(counts.sent), f"in {counted(counts.stretches, 'stretch', 'stretches')}"
    yield "left out inside", str(counts.disposable), "no wanted frame, and no frame is decoded from them"
    yield "left out outside", str(counts.outside), "no wanted frame needs them: before its key frame, or after it"
    yield "in all", str(counts.packets), f"{report.probed['num_keyframes']} of them key frames"


def _how(report: DecodeReport) -> Iterator[str]:
    if not report.frames:
        return
    megabytes = report.num_bytes / 2**20
    if report.counts is None:
        yield "all packets are decoded: they carry no times by which frames could be told apart"
    elif not report.counts.is_planned:
        yield f"all packets up to the last wanted one are decoded: this {report.probed['codec']} is not begun midway"
    if report.is_held:
        yield f"the file is read once; its {megabytes:.1f} MB of packets stay in memory until they are decoded"
    else:
        yield f"the file is read twice, to plan and to decode ({megabytes:.1f} MB of packets); seeks over wide gaps"
    yield f"{counted(report.frames, 'frame')} converted once each: {', '.join(report.conversions)}"
    yield "one decoder thread per worker; more where there are fewer videos than workers"
