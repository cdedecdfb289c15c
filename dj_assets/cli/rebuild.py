"""`dj-assets rebuild`: an export again, from its manifest and the store alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import EXIT_CODES, FAILED
from dj_assets.cli.verbosity import verbose_option

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.rebuild import Rebuilt


@click.command(
    name="rebuild",
    epilog=f"""\b
Examples:
  dj-assets rebuild outputs/video_time/res_manifest.json
  dj-assets rebuild res_manifest.json -o /tmp/again
{EXIT_CODES}""",
)
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the files go, the same bytes or not. Default: beside the manifest, and only if they are the same.",
)
@verbose_option
def command(manifest: Path, folder: Path | None) -> None:
    """Make an export again from MANIFEST, the file that lies beside it, and compare it byte for byte.

    Nothing is decoded. The samples and the numbers are the store's; recipe, bounds and measures are the manifest's,
    whatever the recipe says today.
    """
    from dj_assets.defs.project import store_root
    from dj_assets.defs.versions import library_versions
    from dj_assets.rebuild import rebuild
    from dj_assets.store.store import Store

    rebuilt = rebuild(manifest, store=Store(store_root()), folder=folder, software=library_versions())
    _print(console(), rebuilt)
    if not rebuilt.is_same:
        _print_differences(console(stderr=True), rebuilt)
        click.get_current_context().exit(FAILED)


def _print(out: Console, rebuilt: Rebuilt) -> None:
    rows = [
        (
            file.expected.name,
            str(file.expected.records),
            "the same bytes" if file.is_same else "differs",
            file.expected.sha256,
            str(file.path or ""),
        )
        for file in rebuilt.files
    ]
    print_table(out, ("file", "records", "rebuilt", "sha256 in the manifest", "path"), rows, numbers=("records",))
    recipe, shards = rebuilt.manifest.recipe, rebuilt.manifest.shards
    print_lines(out, [f"recipe {recipe['name']}, {counted(len(shards), 'shard')}; no video was decoded"])


def _print_differences(err: Console, rebuilt: Rebuilt) -> None:
    names = ", ".join(file.expected.name for file in rebuilt.files if not file.is_same)
    reasons = rebuilt.differences or ("the manifest and the store tell no reason",)
    is_written = any(file.path for file in rebuilt.files)
    remedy = "" if is_written else "  try: -o DIR, to look at the files; nothing was replaced"
    lines = [
        "",
        f"other bytes than the manifest promises: {names}",
        *(f"  because: {line}" for line in reasons),
        remedy,
    ]
    print_lines(err, [line for line in lines if line or line == lines[0]])
