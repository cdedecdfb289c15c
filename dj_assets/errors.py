"""The whole error tree, and the statuses under which a row says why a number is missing.

A `MediaError` is data: it becomes a row and the run goes on. A `RecipeError` stops before any decoding.
Anything that is not a `DjAssetsError` is a bug and fails the step.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

Status = Literal[
    "ok",
    "missing",
    "unreadable",
    "no_video_stream",
    "too_short",
    "too_large",
    "timed_out",
    "crashed",
    "refused",
    "malformed",
    "no_value",
    "skipped",
]
"""`ok`: measured. The others say why not:

missing          no file at the path
unreadable       the file is not a video that can be decoded (empty, truncated, not media)
no_video_stream  media without moving pictures (audio only, cover art)
too_short        fewer frames than the operator needs
too_large        picture, file or memory above the recipe's limits
timed_out        the worker's wall clock ran out
crashed          the worker process died
refused          not opened: outside the roots, a URL, a playlist, not a regular file
malformed        the manifest line is not a sample
no_value         the record holds nothing that the operator could judge: no such field, or one of another type
skipped          not measured because an earlier step had dropped the sample (`short_circuit`)
"""

STATUSES: tuple[str, ...] = get_args(Status)


class DjAssetsError(Exception):
    """Base of all errors that a user can cause and mend. Says what was given, what is allowed, what to try."""

    def __init__(self, given: str, *, allowed: str = "", try_: str = "") -> None:
        super().__init__(given, allowed, try_)
        self.given = given
        self.allowed = allowed
        self.try_ = try_

    def __reduce__(self) -> tuple[Any, ...]:
        """How it travels between processes. Pickle's own way calls the class with `args` alone, which it refuses; an
        error that a worker raised would then break the whole pool."""
        return _revived, (type(self), self.args, self.__dict__)

    def where(self) -> str:
        """Place of the fault, e.g. `recipes/a.yaml:5`; empty when it has none."""
        return ""

    def __str__(self) -> str:
        head = f"{self.where()}: {self.given}" if self.where() else self.given
        parts = [head]
        if self.allowed:
            parts.append(f"  allowed: {self.allowed}")
        if self.try_:
            parts.append(f"  try: {self.try_}")
        return "\n".join(parts)

    def one_line(self) -> str:
        """The same three parts on one line, for tables and stats rows."""
        parts = [self.given]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.try_:
            parts.append(f"try: {self.try_}")
        return "; ".join(" ".join(part.split()) for part in parts)


def _revived(kind: type[DjAssetsError], args: tuple[Any, ...], state: dict[str, Any]) -> DjAssetsError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class RecipeError(DjAssetsError):
    """A recipe, a command-line override or a dataset path that cannot be what the user meant."""

    def __init__(
        self,
        given: str,
        *,
        allowed: str = "",
        try_: str = "",
        file: str | None = None,
        line: int | None = None,
        step: str | None = None,
        option: str | None = None,
    ) -> None:
        super().__init__(given, allowed=allowed, try_=try_)
        self.file = file
        self.line = line
        self.step = step
        self.option = option

    def where(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}"
        if self.step:
            place += f" step {self.step}" if place else f"step {self.step}"
        if self.option:
            place += f" option {self.option}" if place else f"option {self.option}"
        return place


class UnknownOperator(RecipeError):
    """A step names an operator that no installed package provides."""


class BadOption(RecipeError):
    """An option is unknown, of the wrong type, or impossible."""


class RecipeErrors(RecipeError):
    """Several recipe errors found in one reading, so that one run of `check` shows them all."""

    def __init__(self, errors: list[RecipeError]) -> None:
        first = errors[0]
        super().__init__(
            first.given,
            allowed=first.allowed,
            try_=first.try_,
            file=first.file,
            line=first.line,
            step=first.step,
            option=first.option,
        )
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class MediaError(DjAssetsError):
    """A video, or a record, that cannot be measured. `status` is what its rows will say."""

    status: ClassVar[Status] = "unreadable"


class Missing(MediaError):
    """No file at the path."""

    status = "missing"


class Unreadable(MediaError):
    """Empty, truncated, corrupt, or not media at all."""

    status = "unreadable"


class NoVideoStream(MediaError):
    """Media without moving pictures."""

    status = "no_video_stream"


class TooShort(MediaError):
    """Fewer frames than the operator needs."""

    status = "too_short"


class TooLarge(MediaError):
    """Picture size, file size or memory above the limits."""

    status = "too_large"


class Refused(MediaError):
    """Not opened, because opening it would not be safe."""

    status = "refused"


class TimedOut(MediaError):
    """The wall clock of one video ran out."""

    status = "timed_out"


class Crashed(MediaError):
    """The worker process died while it had the video."""

    status = "crashed"


class Malformed(MediaError):
    """A manifest line that is not a sample."""

    status = "malformed"


class NoValue(MediaError):
    """A record without a value that the operator could judge."""

    status = "no_value"


class StoreError(DjAssetsError):
    """The store cannot be read or written."""
