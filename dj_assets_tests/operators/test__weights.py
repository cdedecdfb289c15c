"""Where weights are looked for, which ones they are, and what is said where they are not there."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dj_assets import operators
from dj_assets.errors import RecipeErrors
from dj_assets.operators import _weights
from dj_assets.operators._weights import HubModel, Weights, WeightsError, WeightsFile, digest_of
from dj_assets.plan import lacking, make_plan
from dj_assets.recipe import load_recipe

NAME = "org/model"
ONE, OTHER = "1" * 40, "2" * 40


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights anywhere, and no network."""
    for variable in (*_weights.FOLDER_VARIABLES, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "TORCH_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def a_model(folder: Path, content: str = "weights") -> Path:
    """What looks like a model: configuration and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(content)
    return folder


def in_cache(root: Path, commit: str, *, is_main: bool = False) -> Path:
    """A snapshot laid out as huggingface_hub has it."""
    repository = root / "models--org--model"
    if is_main:
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
    return a_model(repository / "snapshots" / commit, content=commit)


@pytest.mark.parametrize(
    "layout", ["org/model", "model", "models--org--model/snapshots/" + ONE, "hub/models--org--model/snapshots/" + ONE]
)
@pytest.mark.parametrize("named_by", ["option", "DJ_ASSETS_WEIGHTS", "DATA_JUICER_EXTERNAL_MODELS_HOME"])
def test_a_folder_may_be_named_in_each_way_and_laid_out_in_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, named_by: str
) -> None:
    folder = a_model(tmp_path / "mine" / layout)
    if named_by != "option":
        monkeypatch.setenv(named_by, str(tmp_path / "mine"))
    found = HubModel(NAME, folder=str(tmp_path / "mine") if named_by == "option" else None).found()
    assert found == Weights(folder, ONE if "snapshots" in layout else digest_of(folder))


@pytest.mark.parametrize(
    ("variable", "below"), [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")]
)
def test_what_the_hub_has_downloaded_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "there"))
    folder = in_cache(tmp_path / "there" / below, ONE)
    assert HubModel(NAME).found() == Weights(folder, ONE)


def test_the_folder_of_a_step_comes_first_and_is_the_only_place_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJ_ASSETS_WEIGHTS", str(tmp_path / "shared"))
    a_model(tmp_path / "shared" / NAME)
    mine = a_model(tmp_path / "mine")
    assert HubModel(NAME, folder=str(mine)).found() == Weights(mine, digest_of(mine))
    assert HubModel(NAME, folder=str(tmp_path / "empty")).found() is None


def test_a_model_that_lies_in_the_shared_folder_itself_is_not_taken_for_every_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJ_ASSETS_WEIGHTS", str(a_model(tmp_path / "shared")))
    assert HubModel(NAME).found() is None


def test_of_several_snapshots_the_one_asked_for_then_the_pinned_one_then_main(tmp_path: Path) -> None:
    wanted = HubModel(NAME, folder=str(tmp_path))
    in_cache(tmp_path, ONE)
    main = in_cache(tmp_path, OTHER, is_main=True)
    assert wanted.found() == Weights(main, OTHER)
    assert replace(wanted, pin=ONE).found().revision == ONE  # type: ignore[union-attr]
    assert replace(wanted, pin=ONE, revision=OTHER).found().revision == OTHER  # type: ignore[union-attr]
    assert replace(wanted, revision="3" * 40).found() is None


def test_half_a_download_is_none(tmp_path: Path) -> None:
    folder = in_cache(tmp_path, ONE)
    (folder / "model.safetensors").unlink()
    assert HubModel(NAME, folder=str(tmp_path)).found() is None
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "a-1.safetensors", "b": "a-2.safetensors"}})
    )
    (folder / "a-1.safetensors").write_text("x")
    assert HubModel(NAME, folder=str(tmp_path)).found() is None
    (folder / "a-2.safetensors").write_text("y")
    assert HubModel(NAME, folder=str(tmp_path)).found() == Weights(folder, ONE)


def test_a_folder_is_told_by_its_bytes_wherever_it_lies(tmp_path: Path) -> None:
    first, again = a_model(tmp_path / "a"), a_model(tmp_path / "b")
    assert digest_of(first) == digest_of(again)
    before = digest_of(first)
    (first / "model.safetensors").write_text("other weights")
    assert digest_of(first) != before
    (again / "notes.md").write_text("mine")
    assert digest_of(again) == before


def test_bytes_are_read_again_only_where_the_file_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(b"one")
    first = _weights.sha256_of(path)
    facts = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert _weights.sha256_of(path) == first, "size, time and place are as they were: taken for unchanged"
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert _weights.sha256_of(path) != first


def test_what_is_absent_is_told_in_three_parts(tmp_path: Path) -> None:
    error = HubModel(NAME).missing()
    assert isinstance(error, WeightsError)
    assert NAME in error.given and str(tmp_path / "cache" / "huggingface" / "hub") in error.given
    assert "config.json" in error.allowed
    assert "weights_folder" in error.try_ and "DJ_ASSETS_WEIGHTS" in error.try_ and "allow_download" in error.try_
    with pytest.raises(WeightsError, match="not on this machine"):
        HubModel(NAME).fetch()


def test_weights_of_another_revision_are_named(tmp_path: Path) -> None:
    folder = a_model(tmp_path / NAME)
    error = HubModel(NAME, revision=ONE, folder=str(tmp_path)).missing()
    assert error is not None and digest_of(folder) in error.try_


def test_a_download_without_a_pinned_revision_is_refused() -> None:
    error = HubModel(NAME, allow_download=True).missing()
    assert error is not None and "no revision" in error.given and "commits/main" in error.try_


def test_a_download_is_of_the_pinned_revision_and_needs_the_step_to_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[tuple[str, str]] = []

    class Api:
        def list_repo_files(self, name: str, *, revision: str) -> list[str]:
            return ["config.json", "model.safetensors", "pytorch_model.bin"]

    def snapshot_download(
        name: str, *, revision: str, cache_dir: Path | None, allow_patterns: list[str], **_: Any
    ) -> None:
        assert "*.bin" not in allow_patterns, "a pickle where safetensors are there"
        asked.append((name, revision))
        in_cache(cache_dir or _weights.hub_cache(), revision)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    wanted = HubModel(NAME, pin=ONE, allow_download=True)
    assert wanted.missing() is None and asked == [], "looking is not fetching"
    wanted.fetch()
    wanted.fetch()
    assert asked == [(NAME, ONE)]
    assert wanted.found() == Weights(_weights.hub_cache() / "models--org--model" / "snapshots" / ONE, ONE)


def test_a_network_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class Api:
        def list_repo_files(self, name: str, *, revision: str) -> list[str]:
            raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(WeightsError, match="no route to host") as caught:
        HubModel(NAME, pin=ONE, allow_download=True).fetch()
    assert "hf download org/model --revision" in caught.value.try_


# --- one file


def a_file(folder: Path, content: bytes = b"raft") -> tuple[Path, WeightsFile]:
    import hashlib

    digest = hashlib.sha256(content).hexdigest()
    name = f"net-{digest[:8]}.pth"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path, WeightsFile(name, f"https://example.org/{name}")


@pytest.mark.parametrize(
    ("where", "below"),
    [("TORCH_HOME", "hub/checkpoints"), ("DJ_ASSETS_WEIGHTS", ""), ("option", ""), ("option", "hub/checkpoints")],
)
def test_a_known_file_is_found_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, below: str
) -> None:
    path, wanted = a_file(tmp_path / "there" / below)
    if where == "option":
        wanted = replace(wanted, folder=str(tmp_path / "there"))
    else:
        monkeypatch.setenv(where, str(tmp_path / "there"))
    assert wanted.found() == Weights(path, wanted.sha256_start)
    path.write_bytes(b"damaged")
    assert wanted.found() is None
    error = wanted.missing()
    assert error is not None and str(path) in error.given and wanted.url in error.try_


def test_a_file_of_ones_own_is_named_itself_and_told_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(b"mine")
    _, wanted = a_file(tmp_path / "elsewhere")
    found = replace(wanted, folder=str(path)).found()
    assert found is not None and found.path == path and found.revision.startswith("files:")


# --- the steps


def recipe(tmp_path: Path, **options: Any) -> Path:
    lines = "".join(f"      {name}: {json.dumps(value)}\n" for name, value in options.items())
    path = tmp_path / "nsfw.yaml"
    path.write_text(
        "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n"
        f"  - video_duration_filter:\n  - video_nsfw_filter:\n{lines}"
    )
    return path


def test_a_recipe_whose_weights_are_absent_has_a_plan_that_says_so(tmp_path: Path) -> None:
    plan = make_plan(load_recipe(recipe(tmp_path)))
    [(step, error)] = lacking(plan.steps)
    assert step.key == "video_nsfw_filter"
    assert error.given.startswith("video_nsfw_filter: the weights of Falconsai/nsfw_image_detection are not")


def test_the_measure_is_that_of_the_weights(tmp_path: Path) -> None:
    def measure_id(**options: Any) -> str:
        return make_plan(load_recipe(recipe(tmp_path, **options))).steps[1].measure_id

    a_model(tmp_path / "a"), a_model(tmp_path / "b"), a_model(tmp_path / "c", content="others")
    absent = measure_id()
    first = measure_id(weights_folder=str(tmp_path / "a"))
    assert first != absent
    assert measure_id(weights_folder=str(tmp_path / "b")) == first
    assert measure_id(hf_nsfw_model=str(tmp_path / "b")) == first
    assert measure_id(weights_folder=str(tmp_path / "a"), allow_download=True) == first
    assert measure_id(weights_folder=str(tmp_path / "c")) != first
    pinned = measure_id(revision=ONE)
    in_cache_of_falconsai = tmp_path / "hub" / "models--Falconsai--nsfw_image_detection" / "snapshots" / ONE
    a_model(in_cache_of_falconsai)
    assert measure_id(weights_folder=str(tmp_path / "hub")) == pinned, "known without the weights"


def test_what_may_be_downloaded_has_its_measure_before_it_is_there(tmp_path: Path) -> None:
    step = make_plan(load_recipe(recipe(tmp_path, allow_download=True))).steps[1]
    assert step.lacks is None
    assert step.params.model_dump()["revision"] == "96cb0d0342c7afb80cab76ecc58b265fa44da256"


def test_a_branch_is_no_revision(tmp_path: Path) -> None:
    with pytest.raises(RecipeErrors, match="revision"):
        make_plan(load_recipe(recipe(tmp_path, revision="main")))


@pytest.mark.parametrize("name", [name for name in operators.names() if hasattr(operators.get(name).params, "pins")])
def test_pins_are_commits(name: str) -> None:
    assert all(_weights.COMMIT.fullmatch(pin) for pin in operators.get(name).params.pins.values())  # type: ignore[attr-defined]
