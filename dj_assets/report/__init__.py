"""Pages: templates beside this file → one self-contained HTML text that opens offline and escapes what it is given."""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """The page of `templates/<template>` with these values. Text is escaped, whatever it holds; lone surrogates, which
    no page can hold, show as `\\udc80`."""
    page = _environment().get_template(template).render(**values)
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def picture_uri(data: bytes, media_type: str) -> str:
    """A picture as an address that needs no file: `data:image/png;base64,…`."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("dj_assets.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
