"""video_motion_score_raft_filter: torchvision's RAFT over upstream's frame pairs. The weights are random."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dj_assets.frames import Look, Size, Windows
from dj_assets.operators import video_motion_score_raft_filter as raft
from dj_assets.operators._weights import WeightsError
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_motion_score_raft_filter"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of raft_large, random but for the seed."""
    import torch
    from torchvision.models.optical_flow import raft_large

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "mine.pth"
    torch.save(raft_large(weights=None, progress=False).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 frames at 4 fps of 144x136 (h x w) in colour."""
    frames = videos.shifting(videos.texture(height=144, width=136), num_frames=5, pixels_per_frame=3)
    tinted = [(frame * [1.0, 0.8, 0.6]).astype(np.uint8) for frame in frames]
    return videos.write_video(tmp_path_factory.mktemp("videos") / "a.mp4", tinted, fps=4, lossless=True)


def by_hand(weights: Path, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> float:
    """As upstream computes it: torchvision's transforms, a batch of one, the last flow, OpenCV's polar coordinates."""
    import cv2
    import torch
    from torchvision import transforms
    from torchvision.models.optical_flow import raft_large

    network = raft_large(weights=None, progress=False)
    network.load_state_dict(torch.load(weights, weights_only=True))
    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean=0.5, std=0.5)])
    with torch.inference_mode():
        flows = network.eval()(prepare(before.copy()).flip(-3)[None], prepare(after.copy()).flip(-3)[None])
    flow = flows[-1][0].numpy().transpose(1, 2, 0)
    return float(np.mean(cv2.cartToPolar(flow[..., 0], flow[..., 1])[0]))


def bgr_frames(path: Path) -> list[npt.NDArray[np.uint8]]:
    import cv2

    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_it_is_that_of_upstreams_pairs(weights: Path, moving: Path) -> None:
    frames = bgr_frames(moving)
    expected = [by_hand(weights, frames[a], frames[b]) for a, b in [(0, 1), (1, 2), (2, 4)]]
    found = measure(moving, NAME, weights_folder=str(weights))
    assert found.window_values == pytest.approx(expected, rel=1e-4)
    assert found.values == pytest.approx([np.mean(expected)], rel=1e-4)
    relative = measure(moving, NAME, weights_folder=str(weights), relative=True)
    assert relative.values[0] == pytest.approx(found.values[0] / math.hypot(144, 136), rel=1e-6)


@pytest.mark.parametrize("data_juicer_resize", [False, True])
def test_pictures_are_resized_the_right_way_round_or_as_upstream(
    weights: Path, moving: Path, data_juicer_resize: bool
) -> None:
    import cv2

    width_and_height = (152, 160) if data_juicer_resize else (160, 152)
    options = {"size": [152, 160], "data_juicer_resize": data_juicer_resize}
    frames = bgr_frames(moving)
    # 144 high and 136 wide: the long side is the height.
    width_and_height = width_and_height[::-1]
    small = [cv2.resize(frames[k], width_and_height, interpolation=cv2.INTER_AREA) for k in (0, 1)]
    found = measure(moving, NAME, weights_folder=str(weights), **options)
    assert found.window_values[0] == pytest.approx(by_hand(weights, *small), rel=1e-4)


@pytest.mark.parametrize(
    ("size", "seen"),
    [((360, 640), (360, 640)), ((1, 1), (128, 128)), ((100, 250), (128, 248)), ((361, 639), (360, 640))],
)
def test_the_network_gets_what_it_takes(size: tuple[int, int], seen: tuple[int, int]) -> None:
    assert raft.seen_size(Size(*size)) == Size(*seen)


class Stub:
    """A network whose flow is known: so many pixels to the right and down, of the picture that it gets."""

    def __init__(self, x: float, y: float) -> None:
        self.x, self.y = x, y
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, before, after):
        import torch

        self.batches.append(tuple(before.shape))
        flow = torch.empty(len(before), 2, *before.shape[2:])
        flow[:, 0], flow[:, 1] = self.x, self.y
        return [torch.zeros_like(flow), flow]


def test_flow_is_in_pixels_of_the_picture_where_it_is_looked_at_enlarged() -> None:
    pairs = np.zeros((3, 2, 64, 32, 3), dtype=np.uint8)
    stub = Stub(8.0, 6.0)
    # Enlarged to 128x128: 4 times as wide, twice as high. So 2 px to the right, 3 px down.
    found = raft.Raft(stub, "cpu").mean_lengths(pairs)
    np.testing.assert_allclose(found, math.hypot(2, 3), rtol=1e-6)
    assert stub.batches == [(1, 3, 128, 128)] * 3, "one pair at a time on a CPU"


def test_pairs_that_do_not_fit_together_are_computed_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    class Full(Stub):
        most = 2

        def __call__(self, before, after):
            if len(before) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(before, after)

    monkeypatch.setitem(raft.BATCH_BYTES, "cpu", 2**40)
    stub = Full(3.0, 4.0)
    model = raft.Raft(stub, "cpu")
    found = model.mean_lengths(np.zeros((5, 2, 128, 128, 3), dtype=np.uint8))
    np.testing.assert_allclose(found, 5.0)
    assert max(shape[0] for shape in stub.batches) <= 2
    stub.most = 0
    with pytest.raises(raft.TooLarge, match="128x128"):
        model.mean_lengths(np.zeros((1, 2, 128, 128, 3), dtype=np.uint8))


def test_batches_move_no_number(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = raft.RaftParams(weights_folder=str(weights))
    model = raft.load(params, "cpu")
    data = np.random.default_rng(0).integers(0, 256, (3, 2, 128, 136, 3), dtype=np.uint8)
    number = np.array([[0, 1], [1, 2], [2, 3]])
    windows = Windows(data, number, number / 24, Look("bgr24"))
    alone = raft.score(windows, params, model).values
    monkeypatch.setitem(raft.BATCH_BYTES, "cpu", 2**40)
    together = raft.score(windows, params, model).values
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_weights_are_known_by_the_start_of_their_sha_256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"not a state dict"
    digest = hashlib.sha256(content).hexdigest()
    name = f"raft_large_C_T_SKHT_V2-{digest[:8]}.pth"
    monkeypatch.setattr(raft, "WEIGHTS_FILE", name)
    (tmp_path / name).write_bytes(content)
    params = raft.RaftParams(weights_folder=str(tmp_path)).on("cpu")
    assert params.revision == digest[:8]
    with pytest.raises(WeightsError, match="does not hold weights of raft_large"):
        raft.load(params, "cpu")
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="does not hold the weights"):
        raft.load(params, "cpu")


def test_the_measure_of_the_known_weights_is_known_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("DJ_ASSETS_WEIGHTS", raising=False)
    assert raft.RaftParams().on("cpu").revision == "ff5fadd5"
    [need] = raft.requires(raft.RaftParams(), "cpu")
    error = need.missing()
    assert error is not None and raft.WEIGHTS_FILE in error.given and raft.WEIGHTS_URL in error.try_


def test_two_motion_filters_in_one_recipe_have_a_stat_each(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n"
        f"  - video_motion_score_filter:\n  - {NAME}: {{size: 128, max_size: null, relative: false}}\n"
    )
    farneback, with_raft = make_plan(load_recipe(path)).steps
    assert farneback.stat_names == ("video_motion_score",)
    assert with_raft.stat_names == ("video_motion_score_2",)
    assert farneback.measure_id != with_raft.measure_id
