"""One video under one mapper: open, probe, make. Runs in worker processes, as `video_run` does."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dj_assets import operators
from dj_assets.errors import DjAssetsError, MediaError, Status
from dj_assets.operators._mapper import Product
from dj_assets.store.products import ProductFile, ProductKey
from dj_assets.video.safe_open import Identity, identify
from dj_assets.video_run import MeasureSpec, Task, check_unchanged, model_of, out_of_memory, peak_mb

if TYPE_CHECKING:
    from dj_assets.video.probe import OpenVideo


@dataclass(frozen=True)
class ProduceTask:
    """One video and one mapper. video: with the mapper as its only spec. text: of the sample, where it is read. sound:
    paths of its products that are there as they were made, and stay."""

    video: Task
    folder: Path
    text: str = ""
    sound: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        return self.video.path

    @property
    def spec(self) -> MeasureSpec:
        """The mapper's measure."""
        [spec] = self.video.specs
        return spec


@dataclass(frozen=True)
class Produced:
    """What was made of one video, or why nothing was. bug: as in `video_run.Measured`."""

    task: ProduceTask
    products: tuple[ProductFile, ...] = ()
    status: Status = "ok"
    reason: str = ""
    bug: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0


def produce_task(task: ProduceTask) -> Produced:
    """Make what a mapper makes of one video. A `MediaError` becomes its status, anything else the mapper's `bug`."""
    started = time.perf_counter()
    try:
        found = Produced(task, tuple(_with_identity(task, make_products(task))))
    except MediaError as refusal:
        found = Produced(task, status=refusal.status, reason=refusal.one_line())
    except MemoryError:
        too_large = out_of_memory(task.path)
        found = Produced(task, status=too_large.status, reason=too_large.one_line())
    except DjAssetsError as missing:  # weights, a device or a disk that are not there: told without a traceback
        found = Produced(task, bug=str(missing))
    except Exception:
        found = Produced(task, bug=traceback.format_exc())
    return replace(found, seconds=time.perf_counter() - started, peak_mb=peak_mb())


def make_products(task: ProduceTask) -> Sequence[Product]:
    """Open the video and have the mapper work on it. Raises `MediaError`, `StoreError`, and what a mapper raises."""
    from dj_assets.video.probe import open_video
    from dj_assets.workbench import products_of

    video, spec = task.video, task.spec
    key = ProductKey(video.content_hash, task.text)
    mapper: Any = operators.get(spec.operator)
    params = mapper.params.model_validate_json(spec.params)

    @contextlib.contextmanager
    def opened() -> Iterator[OpenVideo]:
        with open_video(video.path, roots=video.roots, limits=video.limits, threads=video.threads) as found:
            check_unchanged(video)
            yield found

    return products_of(
        mapper,
        params,
        model_of(spec),
        opened=opened,
        content_hash=video.content_hash,
        # What hangs on the text, too, has a name of its own for each.
        maker="/".join([spec.operator, spec.measure_id, *([key.stat] if key.text else [])]),
        folder=task.folder,
        stem=Path(video.path).stem,
        text=task.text,
        sound=task.sound,
    )


def _with_identity(task: ProduceTask, made: Sequence[Product]) -> Iterator[ProductFile]:
    """The products with what their files are. Raises `MediaError` where one is not what was promised."""
    seen: dict[str, Identity] = {}
    for product in made:
        kept = ProductFile(
            path="" if product.is_parent else product.path,
            begin_seconds=product.begin_seconds,
            end_seconds=product.end_seconds,
            text=product.text,
            is_parent=product.is_parent,
        )
        if kept.path:
            if kept.path not in seen:
                seen[kept.path] = identify(kept.path, roots=[task.folder], limits=task.video.limits)
            kept = replace(kept, **vars(seen[kept.path]))
        yield kept
