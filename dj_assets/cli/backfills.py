"""A backfill that was launched: what it is to do, how far it is, and why some of it failed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dj_assets.cli.console import counted, print_lines
from dj_assets.cli.exits import FAILED, OK
from dj_assets.cli.interrupts import other_signals_as_ctrl_c
from dj_assets.cli.webserver import Webserver, some
from dj_assets.errors import DjAssetsError

if TYPE_CHECKING:
    from rich.console import Console

LOOK_EVERY_SECONDS = 1.0
SAY_EVERY_SECONDS = 5.0
SUCCESS = "COMPLETED_SUCCESS"
ENDED = (SUCCESS, "COMPLETED", "COMPLETED_FAILED", "FAILED", "CANCELED")
MOST_EVENTS = 1000
MOST_SHOWN = 10
"""Failed runs of which the reasons are told; all have them on the backfill's page."""

PARENT_TAG = "dagster/parent_backfill_id"
PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclass(frozen=True)
class Backfill:
    """As the webserver knows it now. recipes: those whose assets it makes. parent: the backfill that it retries.

    progress: asset's name → (made, failed, wanted) shards.
    """

    id: str
    status: str
    recipes: tuple[str, ...]
    parent: str
    error: str
    progress: Mapping[str, tuple[int, int, int]]

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def has_failed(self) -> bool:
        return self.has_ended and (self.status not in (SUCCESS, "COMPLETED") or self.num_failed > 0)

    @property
    def num_partitions(self) -> int:
        """Shards of the asset with the most; Dagster's own number is none where the assets differ."""
        return max((wanted for _, _, wanted in self.progress.values()), default=0)

    @property
    def num_failed(self) -> int:
        """Of the asset with the most failures."""
        return max((failed for _, failed, _ in self.progress.values()), default=0)

    def __str__(self) -> str:
        parts = []
        for name, (made, failed, wanted) in self.progress.items():
            parts.append(f"{name} {made}/{wanted}" + (f" ({failed} failed)" if failed else ""))
        return ", ".join(parts) or self.status.lower()


@dataclass(frozen=True)
class FailedRun:
    """partitions: what it was to make: one key, or a range. status: FAILURE or CANCELED."""

    run_id: str
    partitions: str
    status: str


def find_backfill(server: Webserver, backfill_id: str) -> Backfill:
    """One backfill. Raises `DjAssetsError` where there is none of that id."""
    [found] = server.ask(ONE, id=backfill_id).values()
    return _backfill(found)


def find_backfills(server: Webserver, *, most: int = 100) -> list[Backfill]:
    """The latest backfills, newest first."""
    [found] = server.ask(LATEST, limit=most).values()
    return [_backfill(one) for one in found["results"] if one["isAssetBackfill"]]


def _backfill(found: Mapping[str, Any]) -> Backfill:
    data = found["assetBackfillData"] or {"assetBackfillStatuses": []}
    statuses = [one for one in data["assetBackfillStatuses"] if "numPartitionsTargeted" in one]
    first_parts = [key["path"][0] for key in found["assetSelection"] or []]
    recipes = dict.fromkeys(
        [*first_parts, *(re.sub(r"__\d+$", "", name) for name in first_parts)]
    )  # of a stage: its own
    return Backfill(
        id=found["id"],
        status=found["status"],
        recipes=tuple(recipes),
        parent=next((tag["value"] for tag in found["tags"] if tag["key"] == PARENT_TAG), ""),
        error=((found["error"] or {}).get("message") or "").strip(),
        progress={
            "/".join(one["assetKey"]["path"][0 if len(recipes) > 1 else 1 :]): (
                one["numPartitionsMaterialized"],
                one["numPartitionsFailed"],
                one["numPartitionsTargeted"],
            )
            for one in statuses
        },
    )


def tell_launched(server: Webserver, out: Console, err: Console, backfill_id: str, num_partitions: int) -> None:
    """Say what was launched, where to look at it, and whether anybody will start it."""
    print_lines(
        out, [f"backfill {backfill_id}: {counted(num_partitions, 'partition')}", server.backfill_page(backfill_id)]
    )
    if not server.daemon_is_alive():
        print_lines(err, ["warning: no daemon is running, and it is the daemon that starts backfills: dj-assets ui"])


def wait_for(server: Webserver, out: Console, err: Console, backfill_id: str) -> int:
    """Show progress until a backfill has ended, and what failed in it. Returns the exit code.

    Ctrl-C leaves it running, and says so.
    """
    try:
        with other_signals_as_ctrl_c():
            backfill = _watch(server, err, backfill_id)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Backfill {backfill_id} goes on; its page can stop it: {server.backfill_page(backfill_id)}"
        ) from None
    return _tell_end(server, out, err, backfill)


def _watch(server: Webserver, err: Console, backfill_id: str) -> Backfill:
    said, said_at = "", float("-inf")
    while True:
        backfill = find_backfill(server, backfill_id)
        now = time.monotonic()
        if str(backfill) != said and (backfill.has_ended or now - said_at >= SAY_EVERY_SECONDS):
            said, said_at = str(backfill), now
            print_lines(err, [said])
        if backfill.has_ended:
            return backfill
        time.sleep(LOOK_EVERY_SECONDS)


def _tell_end(server: Webserver, out: Console, err: Console, backfill: Backfill) -> int:
    if not backfill.has_failed:
        print_lines(out, [f"backfill {backfill.id}: all done"])
        return OK
    runs = find_failed_runs(server, backfill.id)
    for run in runs[:MOST_SHOWN]:
        print_lines(err, ["", f"partition {run.partitions} failed, run {run.run_id}:", *find_messages(server, run)])
    if backfill.error:
        print_lines(err, ["", backfill.error])
    what = "was canceled" if backfill.status == "CANCELED" else f"failed in {counted(len(runs), 'run')}"
    print_lines(err, ["", f"backfill {backfill.id} {what}: {some([run.partitions for run in runs]) or 'none started'}"])
    print_lines(err, [f"  try: mend it, then dj-assets retry-failed {backfill.id}"])
    return FAILED


def find_failed_runs(server: Webserver, backfill_id: str) -> list[FailedRun]:
    """The runs of a backfill that failed and were not retried by the daemon, oldest first."""
    [found] = server.ask(RUNS, id=backfill_id).values()
    retried = {run["parentRunId"] for run in found["runs"]}
    return [
        FailedRun(run["runId"], _partitions({tag["key"]: tag["value"] for tag in run["tags"]}), run["status"])
        for run in reversed(found["runs"])
        if run["status"] in ("FAILURE", "CANCELED") and run["runId"] not in retried
    ]


def _partitions(tags: Mapping[str, str]) -> str:
    ends = dict.fromkeys(tags[name] for name in RANGE_TAGS if name in tags)
    return tags.get(PARTITION_TAG) or "...".join(ends) or "(unknown)"


def find_messages(server: Webserver, failed: FailedRun) -> Sequence[str]:
    """`step: message` of each step that failed; else why the run did."""
    if failed.status == "CANCELED":
        return ["it was canceled"]
    steps, others, cursor = [], [], None
    while True:
        [run] = server.ask(EVENTS, id=failed.run_id, limit=MOST_EVENTS, cursor=cursor).values()
        for event in run["eventConnection"]["events"]:
            error = event.get("error") or {}
            if event["__typename"] == "ExecutionStepFailureEvent":
                steps.append(f"{event['stepKey']}: {_reason(event)}")
            elif event["__typename"] == "RunFailureEvent":
                others.append((error.get("message") or event["message"]).strip())
        cursor = run["eventConnection"]["cursor"]
        if not run["eventConnection"]["hasMore"]:
            return steps or others or ["its event log says why"]


def _reason(event: Mapping[str, Any]) -> str:
    """What the failure says for people, else the error that it began with."""
    said = (event.get("failureMetadata") or {}).get("description")
    error = event.get("error") or {}
    causes = [cause["message"] for cause in error.get("causes") or []]
    return (said or (causes[0] if causes else "") or error.get("message") or event["message"]).strip()


def launch(server: Webserver, query: str, **variables: Any) -> str:
    """A mutation that launches a backfill. Returns its id."""
    [found] = server.ask(query, **variables).values()
    if "backfillId" not in found:
        raise DjAssetsError(
            f"Dagster at {server.url} launched nothing: {found.get('__typename')}", try_="dj-assets reload"
        )
    return str(found["backfillId"])


_FIELDS = """id status isAssetBackfill error { message } assetSelection { path } tags { key value }
  assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
    assetKey { path } numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed } } }"""

ONE = f"""query ($id: String!) {{ partitionBackfillOrError(backfillId: $id) {{ __typename
  ... on PartitionBackfill {{ {_FIELDS} }} ... on Error {{ message }} }} }}"""

LATEST = f"""query ($limit: Int!) {{ partitionBackfillsOrError(limit: $limit) {{ __typename
  ... on PartitionBackfills {{ results {{ {_FIELDS} }} }} ... on Error {{ message }} }} }}"""

RUNS = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename
  ... on PartitionBackfill { runs(limit: 100000) { runId parentRunId status tags { key value } } }
  ... on Error { message } } }"""

EVENTS = """query ($id: ID!, $limit: Int!, $cursor: String) { runOrError(runId: $id) { __typename
  ... on Run { eventConnection(limit: $limit, afterCursor: $cursor) { hasMore cursor events { __typename
    ... on MessageEvent { message stepKey }
    ... on ExecutionStepFailureEvent { error { message causes { message } } failureMetadata { description } }
    ... on RunFailureEvent { error { message } } } } }
  ... on Error { message } } }"""

LAUNCH = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }"""

RETRY = """mutation ($params: ReexecutionParams!) { reexecutePartitionBackfill(reexecutionParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }"""
