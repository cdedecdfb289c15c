"""A store with a recipe of three stages, written without a video: a film, its two scenes, and a picture of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dj_assets.samples import Made, Sample, Video
from dj_assets.store.measures import MeasureInfo
from dj_assets.store.products import Kept, ProductFile, ProductKey, fact_of
from dj_assets.store.rows import Verdict
from dj_assets.store.store import Store
from dj_assets_tests.store.nouns import PROVENANCE, a_fact, a_row

SCENES, FRAMES = "video_split_by_scene_mapper", "video_extract_frames_mapper"
MOTION = "video_motion_score_filter"
SCENES_ID, FRAMES_ID, MOTION_ID = "aa" * 8, "bb" * 8, "0123456789abcdef"
SHARD = "ds-00000"


def a_hash(name: str) -> str:
    return f"{ord(name[-1]):02x}" * 16


def video(name: str) -> Video:
    return Video("videos", 0, f"/v/{name}.mp4", f"/v/{name}.mp4", a_hash(name), 10, 10)


def scene(name: str, begin_seconds: float, end_seconds: float) -> Made:
    return Made(f"/v/{name}.mp4", a_hash(name), "/v/film.mp4", a_hash("film"), begin_seconds, end_seconds)


def write_stages(root: Path) -> Store:
    """`r__1`: the film, kept. `r__2`: scene a dropped for its motion, scene b kept. `r`: a picture of scene b."""
    store = Store(root)
    film = Sample("ds.jsonl:3", "ds.jsonl", 3, {"videos": ["film.mp4"]}, (video("film"),))
    a, b = (
        replace(
            film,
            sample_id=f"ds.jsonl:3#{number}",
            videos=(video(name),),
            parent_id="ds.jsonl:3",
            parent_recipe="r__1",
            made_by=SCENES,
            measure_id=SCENES_ID,
            made=(scene(name, *seconds),),
        )
        for number, (name, seconds) in enumerate({"a": (0.0, 6.0), "b": (6.0, 9.9)}.items(), start=1)
    )
    picture = replace(
        b,
        sample_id="ds.jsonl:3#2#1",
        parent_id="ds.jsonl:3#2",
        parent_recipe="r__2",
        made_by=FRAMES,
        measure_id=FRAMES_ID,
        made=(Made("/v/b/frame_0.jpg", "ff" * 16, "/v/b.mp4", a_hash("b"), 1.5, 1.5),),
    )
    verdicts = {
        "r__1": [Verdict("ds.jsonl:3", "kept")],
        "r__2": [
            Verdict(a.sample_id, "dropped", MOTION, MOTION, "video_motion_score", (1.5,), "video_motion_score >= 2"),
            Verdict(b.sample_id, "kept"),
        ],
        "r": [Verdict(picture.sample_id, "kept")],
    }
    for recipe, samples in {"r__1": [film], "r__2": [a, b], "r": [picture]}.items():
        origin = replace(PROVENANCE, recipe=recipe, shard=SHARD)
        store.write_samples(recipe, SHARD, samples, origin)
        store.write_verdicts(recipe, SHARD, verdicts[recipe], origin)
    numbers = [replace(a_row(content_hash=a_hash(s.videos[0].path[-5])), sample_id=s.sample_id) for s in (a, b)]
    store.write_stats("r__2", MOTION, SHARD, numbers, PROVENANCE)
    store.append_facts([a_fact(content_hash=a_hash(name)) for name in "ab"], PROVENANCE)
    store.describe_measure(MeasureInfo(SCENES, SCENES_ID, 1, {"threshold": 27.0}))
    store.describe_measure(MeasureInfo(FRAMES, FRAMES_ID, 2))
    remember(store, ProductFile("/v/a.mp4", 0.0, 6.0), ProductFile("/v/b.mp4", 6.0, 9.9))
    return store


def remember(store: Store, *products: ProductFile) -> None:
    """Keep these as what the scene mapper made of the film."""
    fact = fact_of(
        ProductKey(a_hash("film")),
        Kept(products),
        mapper=SCENES,
        measure_id=SCENES_ID,
        device="cpu",
        cost_seconds=1.0,
        measured_at="2026-11-22T10:00:00+00:00",
    )
    store.append_facts([fact], PROVENANCE)
