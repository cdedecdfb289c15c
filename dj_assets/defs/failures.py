"""What a user can mend, as Dagster shows it best."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from dj_assets.errors import DjAssetsError


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Turn what a user can mend into a failure that shows the three parts of its message instead of a traceback."""
    try:
        yield
    except DjAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
