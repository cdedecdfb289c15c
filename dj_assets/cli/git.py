"""A file as it was at a git revision, read without a shell, a pager or a network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from dj_assets.errors import RecipeError

GIT_SECONDS = 60.0


def read_revision(path: Path, revision: str) -> bytes:
    """The bytes of `path` at `revision`. Raises `RecipeError` where git does not know one of them."""
    if not revision or revision.startswith("-") or ":" in revision or "\0" in revision:
        raise _fault(
            f"--git is {revision!r}",
            allowed="a commit, branch or tag; nothing that starts with a dash or names a file",
            try_="--git HEAD, --git HEAD~1, --git main",
        )
    real = path.resolve()
    folder = real.parent
    if not folder.is_dir():
        raise _fault(f"there is no folder {folder}", allowed="the path of a recipe", try_="check the path")
    if _ask(folder, "rev-parse", "--is-inside-work-tree").stdout.strip() != b"true":
        raise _fault(f"{folder} is in no git repository", allowed="a recipe that git keeps", try_=_TWO_FILES)
    commit = _ask(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit.returncode:
        raise _fault(
            f"git knows no revision {revision!r}{_said(commit)}",
            allowed="a commit, branch or tag of the recipe's repository",
            try_="git log --oneline, for those there are; git fetch, for those of others",
        )
    found = _ask(folder, "cat-file", "blob", f"{commit.stdout.decode().strip()}:./{real.name}")
    if found.returncode:
        raise _fault(
            f"{path} is not in revision {revision!r}{_said(found)}",
            allowed="a recipe that was there already, under the same name",
            try_=f"git log --oneline -- {real.name}, for the revisions that have it; or {_TWO_FILES}",
        )
    return found.stdout


_TWO_FILES = "dj-assets diff OLD.yaml NEW.yaml, with the old recipe in a file of its own"


def _ask(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    # Of a hook's repository, not of the recipe's.
    inherited = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
    try:
        return subprocess.run(
            ["git", "--no-pager", "--literal-pathspecs", "-C", str(folder), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**inherited, **quiet},
            timeout=GIT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise _fault("git is not installed", allowed="the program git on the PATH", try_=_TWO_FILES) from None
    except subprocess.TimeoutExpired:
        raise _fault(
            f"git gave no answer within {GIT_SECONDS:g} s", allowed="a repository that can be read", try_=_TWO_FILES
        ) from None


def _said(answer: subprocess.CompletedProcess[bytes]) -> str:
    words = " ".join(answer.stderr.decode("utf-8", "replace").split())
    return f": {words}" if words else ""


def _fault(given: str, *, allowed: str, try_: str) -> RecipeError:
    return RecipeError(given, allowed=allowed, try_=try_, file="command line", option="git")
