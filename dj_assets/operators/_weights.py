"""Where the weights of neural models are, and which ones they are: the one place that looks for them.

    the step's `weights_folder`                 if named, they must be there
    $DJ_ASSETS_WEIGHTS, $DATA_JUICER_EXTERNAL_MODELS_HOME
    the cache of huggingface_hub (or of torch, for a single file)
    the network                                 only where the step says `allow_download: true`, at a pinned revision

A folder may be laid out as `<organisation>/<model>`, as `<model>`, or as the hub's cache is. Nothing here imports torch
or transformers, since definitions are loaded with it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from dj_assets.errors import DjAssetsError
from dj_assets.operators._contract import Device, Params, Requirement

COMMIT = re.compile(r"[0-9a-f]{40}")
DIGEST = re.compile(r"files:[0-9a-f]{32}")
"""What a revision can be: a commit of the hub; or a digest of files, where nothing says which commit they are of."""

FOLDER_VARIABLES = ("DJ_ASSETS_WEIGHTS", "DATA_JUICER_EXTERNAL_MODELS_HOME")

MODEL_SUFFIXES = (".json", ".safetensors", ".bin", ".pt", ".pth", ".model", ".txt", ".jinja")
"""Files that `from_pretrained` may read: weights, configuration, vocabulary."""

WEIGHT_SUFFIXES = (".safetensors", ".bin")


class WeightsError(DjAssetsError):
    """Weights, or the package that reads them, are absent, or not those that were asked for."""


@dataclass(frozen=True)
class Weights:
    """A model's files on this machine. path: their folder, or the one file. revision: see `COMMIT` and `DIGEST`."""

    path: Path
    revision: str


# --- what a step may need


@dataclass(frozen=True)
class Package:
    """An importable module. install: what gives it, as pip is told. what_for: in words, for the message."""

    module: str
    install: str
    what_for: str

    def missing(self) -> DjAssetsError | None:
        if importlib.util.find_spec(self.module) is not None:
            return None
        return WeightsError(
            f"the package {self.module}, which {self.what_for} needs, is not installed",
            allowed=f"an environment with {self.module}",
            try_=f"pip install {self.install}",
        )

    def fetch(self) -> None:
        if error := self.missing():
            raise error


TRANSFORMERS = Package("transformers", "'dj-assets[models]'", "a model of the Hugging Face hub")


@dataclass(frozen=True)
class Checked:
    """What a look-up finds, or raises an error about: weights that come in a package of their own."""

    look: Callable[[], object]

    def missing(self) -> DjAssetsError | None:
        try:
            self.look()
        except DjAssetsError as error:
            return error
        return None

    def fetch(self) -> None:
        self.look()


@dataclass(frozen=True)
class HubModel:
    """A model of the Hugging Face hub, or a folder laid out as one.

    name: `organisation/model`, or the path of a folder. revision: which one, None for whichever is found. pin: the
    commit that is downloaded where the step names none; empty where none is known. folder: the step's own.
    """

    name: str
    revision: str | None = None
    pin: str = ""
    folder: str | None = None
    allow_download: bool = False

    def found(self) -> Weights | None:
        """The first copy that is whole and of the revision asked for."""
        return next(self._copies(), None)

    def missing(self) -> DjAssetsError | None:
        if self.found() is not None:
            return None
        if not self.allow_download:
            return self._absent()
        if not self.to_download():
            return WeightsError(
                f"{self.name} is to be downloaded, but no revision of it is pinned",
                allowed="a commit hash of the model's repository, 40 hexadecimal digits",
                try_=f"set revision: to the commit that https://huggingface.co/{self.name}/commits/main shows",
            )
        return Package("huggingface_hub", "'dj-assets[models]'", f"the download of {self.name}").missing()

    def fetch(self) -> None:
        if self.found() is not None:
            return
        if error := self.missing():
            raise error
        _download(self.name, self.to_download(), None if self.folder is None else _path(self.folder))
        if self.found() is None:
            raise self._absent()

    def to_download(self) -> str:
        """The commit that a download would be of; empty where none is pinned."""
        revision = self.revision or self.pin
        return revision if COMMIT.fullmatch(revision) and not _is_path(self.name) else ""

    def _copies(self) -> Iterator[Weights]:
        for folder, commit in self._folders():
            if _is_whole(folder):
                revision = commit or digest_of(folder)
                if self.revision in (None, revision):
                    yield Weights(folder, revision)

    def _folders(self) -> Iterator[tuple[Path, str]]:
        """(folder, its commit; empty where nothing tells) of whatever may be a copy, best first."""
        if _is_path(self.name):
            yield _path(self.name), _commit_of(_path(self.name))
            return
        for place in self._places():
            for root in (place, place / "hub"):
                repository = root / f"models--{self.name.replace('/', '--')}"
                yield from ((path, path.name) for path in _snapshots(repository, (self.revision or "", self.pin)))
            yield place / self.name, ""
            yield place / self.name.rsplit("/", 1)[-1], ""
        if self.folder:
            yield _path(self.folder), _commit_of(_path(self.folder))

    def _places(self) -> list[Path]:
        if _is_path(self.name):
            return [_path(self.name)]
        return [_path(self.folder)] if self.folder else [*_named_folders(), hub_cache()]

    def _absent(self) -> WeightsError:
        places = ", ".join(map(str, self._places()))
        which = f" of revision {self.revision}" if self.revision else ""
        if found := self._of_other_revision():
            return WeightsError(
                f"{found.path} holds the weights of {self.name}, but of revision {found.revision}",
                allowed=str(self.revision),
                try_=f"set revision: {found.revision}, or leave it out",
            )
        repository = (
            "" if _is_path(self.name) else f", or download it: hf download {self.name}, or allow_download: true"
        )
        return WeightsError(
            f"the weights of {self.name}{which} are not on this machine (looked in {places})",
            allowed="a folder with config.json and *.safetensors or *.bin, or the cache of huggingface_hub",
            try_=f"set weights_folder or DJ_ASSETS_WEIGHTS to a folder that holds {self.name}{repository}",
        )

    def _of_other_revision(self) -> Weights | None:
        return None if self.revision is None else HubModel(self.name, pin=self.pin, folder=self.folder).found()


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights, named as torch's hub names them: the start of its SHA-256 before the suffix.

    path: another file, where the step names one; its digest is its revision then.
    """

    name: str
    url: str
    folder: str | None = None
    revision: str | None = None
    allow_download: bool = False

    @property
    def sha256_start(self) -> str:
        return self.name.rsplit(".", 1)[0].rsplit("-", 1)[1]

    def found(self) -> Weights | None:
        """The file that the step names, or the known one. Raises nothing: a damaged one is not found."""
        for path in self._paths():
            if path.is_file():
                revision = self._revision_of(path)
                if revision and self.revision in (None, revision):
                    return Weights(path, revision)
        return None

    def missing(self) -> DjAssetsError | None:
        if self.found() is not None or self.allow_download:
            return None
        damaged = next((path for path in self._paths() if path.is_file()), None)
        return WeightsError(
            f"{damaged} does not hold the weights {self.revision or self.sha256_start}"
            if damaged
            else f"the weights {self.name} are not on this machine (looked in {', '.join(map(str, self._paths()))})",
            allowed=f"{self.name} as torchvision has it, or a file of your own named by weights_folder",
            try_=f"fetch {self.url} into one of these folders, set DJ_ASSETS_WEIGHTS to the folder that holds it, "
            "or set allow_download: true",
        )

    def fetch(self) -> None:
        if self.found() is not None:
            return
        if error := self.missing():
            raise error
        _download_file(self.url, self._paths()[-1], self.sha256_start)

    def _paths(self) -> list[Path]:
        if self.folder:
            named = _path(self.folder)
            return (
                [named]
                if named.suffix in (".pth", ".pt")
                else [named / self.name, named / "hub" / "checkpoints" / self.name]
            )
        return [*(folder / self.name for folder in _named_folders()), torch_cache() / self.name]

    def _revision_of(self, path: Path) -> str:
        """The start of its SHA-256 for the known file; `files:…` for one of the user's own; empty for a damaged one."""
        found = sha256_of(path)
        if found.startswith(self.sha256_start):
            return self.sha256_start
        return "" if path.name == self.name else f"files:{found[:32]}"


# --- options of the steps


class WeightsParams(Params):
    """Options of a step with weights: where they are, and which.

    `revision` is filled in by `on` with what is on this machine, so that it is part of the measure: numbers of other
    weights are other numbers.
    """

    weights_folder: str | None = Field(None, description="folder that holds the weights")
    revision: str | None = Field(None, description="which weights; null: what is found")
    allow_download: bool = Field(False, description="true: fetch the weights where they are not on this machine")

    whereabouts: ClassVar[frozenset[str]] = frozenset({"weights_folder", "allow_download"})


class ModelParams(WeightsParams):
    """Options of a step with a model of the hub. Subclasses say which option names it, and what is pinned."""

    weights_folder: str | None = Field(
        None, description="folder with the weights: the model's own, one that holds it, or a cache of huggingface_hub"
    )
    revision: str | None = Field(
        None, description="commit hash of the model's repository, or files:<digest> of a folder; null: what is found"
    )

    model_option: ClassVar[str]
    pins: ClassVar[Mapping[str, str]] = {}

    @field_validator("revision")
    @classmethod
    def _is_pinned(cls, revision: str | None) -> str | None:
        if revision is None or COMMIT.fullmatch(revision) or DIGEST.fullmatch(revision):
            return revision
        raise ValueError("a branch or a tag may come to mean other weights")

    @property
    def model_name(self) -> str:
        """`organisation/model`, or a folder."""
        return str(getattr(self, self.model_option))

    @property
    def model(self) -> HubModel:
        """The model that is wanted."""
        pin = self.pins.get(self.model_name, "")
        return HubModel(self.model_name, self.revision, pin, self.weights_folder, self.allow_download)

    def on(self, device: Device) -> Self:
        """With the revision that is found, or will be downloaded, where none is named."""
        if self.revision is not None:
            return self
        found = self.model.found()
        revision = found.revision if found else self.model.to_download() if self.allow_download else ""
        return self.model_copy(update={"revision": revision}) if revision else self

    def canonical(self) -> dict[str, Any]:
        """Without the model's name where a digest says which weights they are, wherever they lie."""
        options = super().canonical()
        options[self.model_option] = self.model_name
        if self.revision is not None and DIGEST.fullmatch(self.revision):
            options.pop(self.model_option)
        return options


def model_requirements(params: ModelParams, device: Device) -> Sequence[Requirement]:
    """`requires` of a step with a model of the hub."""
    return (TRANSFORMERS, params.model)


def weights_of(params: ModelParams) -> Path:
    """The model's folder, for `load`. Raises `WeightsError`."""
    wanted = params.model
    found = wanted.found()
    if found is None:
        raise wanted._absent()
    return found.path


# --- places


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it has downloaded."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or str(_cache_home() / "huggingface")
    return _path(named or f"{home}/hub")


def torch_cache() -> Path:
    """Where torch keeps what it has downloaded."""
    return _path(os.environ.get("TORCH_HOME") or str(_cache_home() / "torch")) / "hub" / "checkpoints"


def _cache_home() -> Path:
    return _path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")


def _named_folders() -> list[Path]:
    return [_path(named) for variable in FOLDER_VARIABLES if (named := os.environ.get(variable))]


def _path(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111, one call for text that may be odd


def _is_path(name: str) -> bool:
    """Whether a model's name is a folder's path rather than `organisation/model`, as upstream tells them apart."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or (Path(name) / "config.json").is_file()


def _commit_of(folder: Path) -> str:
    """Of a snapshot in a cache of the hub that was named itself."""
    return folder.name if folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name) else ""


def _snapshots(repository: Path, commits: Sequence[str]) -> Iterator[Path]:
    """Of a model in the hub's cache: those of these commits, then the one that `main` was last, then others."""
    folder = repository / "snapshots"
    main = repository / "refs" / "main"
    heads = [main.read_text(encoding="utf-8").strip()] if main.is_file() else []
    others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for commit in dict.fromkeys([*commits, *heads, *others]):
        if COMMIT.fullmatch(commit) and (folder / commit).is_dir():
            yield folder / commit


def _is_whole(folder: Path) -> bool:
    """Whether configuration and weights are there; of weights in several files, every one that the index names."""
    if not (folder / "config.json").is_file():
        return False
    for index in folder.glob("*.index.json"):
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return False
        if names and all((folder / name).is_file() for name in names):
            return True
    return any(path.is_file() for suffix in WEIGHT_SUFFIXES for path in folder.glob(f"*model{suffix}"))


# --- identity


def digest_of(folder: Path) -> str:
    """`files:` and 32 hex digits over the names and bytes of everything that a model is loaded from."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in MODEL_SUFFIXES and path.is_file()):
        whole.update(f"{path.name}\0{sha256_of(path)}\n".encode())
    return f"files:{whole.hexdigest()[:32]}"


def sha256_of(path: Path) -> str:
    """Of a file's bytes. It is noted among this user's caches, since weights are large and asked for often."""
    facts = path.stat()
    now = [str(path.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ino]
    note = _cache_home() / "dj_assets" / "digests" / f"{hashlib.sha256(repr(now[0]).encode()).hexdigest()[:32]}.json"
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        if noted["file"] == now:
            return str(noted["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note, or half of one
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _write_note(note, {"file": now, "sha256": found})
    return found


def _write_note(path: Path, note: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(note, file)
        Path(temporary).replace(path)
    except OSError:
        return  # a home that cannot be written to: the file is read again next time


# --- the network


def _download(name: str, commit: str, cache: Path | None) -> None:
    """A model's files at a commit into the hub's cache, safetensors rather than pickles where both are there."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = HfApi().list_repo_files(name, revision=commit)
        pickles: list[Literal["*.bin"]] = [] if any(file.endswith(".safetensors") for file in files) else ["*.bin"]
        wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", *pickles]
        snapshot_download(name, revision=commit, cache_dir=cache, allow_patterns=wanted, ignore_patterns=["*/*"])
    except Exception as error:  # the hub has a dozen of its own, and those of whichever HTTP library it uses
        raise WeightsError(
            f"{name} at {commit} cannot be downloaded: {type(error).__name__}: {error}",
            allowed="a network that reaches the hub, and a model that this user may read",
            try_=f"hf download {name} --revision {commit} where there is one, and copy the folder here",
        ) from error


def _download_file(url: str, path: Path, sha256_start: str) -> None:
    from torch.hub import download_url_to_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(url, str(path), hash_prefix=sha256_start, progress=False)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{url} cannot be downloaded: {error}",
            allowed="a network that reaches it",
            try_=f"fetch it elsewhere and put it at {path}",
        ) from error
