"""The studio over HTTP: a page, numbers as JSON, pictures when asked for, videos of the recipe and no other file.

Meant for one person on this machine. A page of another site that the same browser shows can do nothing here: requests
must name this host, come from this page, and carry JSON.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from dj_assets import evidence
from dj_assets.errors import DjAssetsError, MediaError, Refused
from dj_assets.measure import media_limits
from dj_assets.plan import Plan, Step, make_plan
from dj_assets.ranges import impossible
from dj_assets.recipe import load_recipe
from dj_assets.recipe.rewrite import Change, RecipeText, Rewritten, read_recipe_text, rewrite_recipe, with_options
from dj_assets.samples import Video
from dj_assets.store.rows import Fact
from dj_assets.studio.bounds import NO_LIMIT, State, bounds_of, changed_options, check_state, ranges_under
from dj_assets.studio.session import MOST_NEAR, Session, Show
from dj_assets.video.safe_open import open_file

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
}
"""What browsers play. Of the others the page says that it cannot, and shows pictures."""

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
CHUNK_BYTES = 2**18


def _same_stage(plan: Plan, name: str) -> Plan:
    """The stage of that name of a recipe as it is now; the whole of it where there is none, for whoever compares."""
    return next((stage for stage in plan.stages if stage.recipe.name == name), plan)


@dataclass
class Studio:
    """What the server holds: the session, and the recipe's text as it was read. Nothing is written but by `save` and
    `mark`."""

    session: Session
    text: RecipeText
    pictures: dict[tuple[Any, ...], bytes | MediaError] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def limits(self) -> Any:
        return self.session.plan.recipe.settings.limits

    def changes(self, state: State) -> list[Change]:
        """What saving would change in the recipe's file. Raises `DjAssetsError` where no video could pass, since such a
        recipe would be refused when it is read again."""
        check_state(self.session.plan, state)
        for step in self.session.plan.steps:
            _refuse_impossible(step, state)
        return [
            Change(step.number, option, _as_written(value), default=_default_of(step, option))
            for step in self.session.plan.steps
            for option, value in changed_options(step, bounds_of(step), state.steps[step.key]).items()
        ]

    def preview_save(self, state: State) -> Rewritten:
        """The recipe's text as saving would leave it; nothing is written."""
        if read_recipe_text(self.session.plan.recipe.file).sha256 != self.text.sha256:
            raise DjAssetsError(
                f"{self.session.plan.recipe.file} was edited since this page was opened",
                allowed="the file as the page shows it",
                try_="reload the page, which reads it again, then make the change once more",
            )
        return with_options(self.text.text, self.changes(state), file=self.session.plan.recipe.file)

    def save(self, state: State) -> Rewritten:
        """Write the bounds into the recipe's file, and take them as its own from now on."""
        file = self.session.plan.recipe.file
        with self.lock:
            written = rewrite_recipe(file, self.changes(state), expected_sha256=self.text.sha256)
            self._read()
        return written

    def refresh(self) -> None:
        """Read the recipe anew if its file was edited. Raises `DjAssetsError` where its steps are others now."""
        with self.lock:
            if read_recipe_text(self.session.plan.recipe.file).sha256 != self.text.sha256:
                self._read()

    def _read(self) -> None:
        file = self.session.plan.recipe.file
        text = read_recipe_text(file)
        self.session.take_plan(_same_stage(make_plan(load_recipe(file)), self.session.plan.recipe.name))
        self.text = text

    def picture(self, key: tuple[Any, ...], draw: Callable[[], bytes]) -> bytes:
        """A drawn picture, kept for the next time; so is why it cannot be drawn. Raises `MediaError`."""
        if key not in self.pictures:
            try:
                drawn: bytes | MediaError = draw()
            except MediaError as error:
                drawn = error
            with self.lock:
                self.pictures[key] = drawn
                while len(self.pictures) > 500:
                    self.pictures.pop(next(iter(self.pictures)))
        found = self.pictures[key]
        if isinstance(found, MediaError):
            raise found
        return found


def _refuse_impossible(step: Step, state: State) -> None:
    for range_ in ranges_under(step, state.steps[step.key]):
        stat = next(stat for stat in step.operator.stats if stat.name == range_.stat)
        if problem := impossible(range_, stat):
            raise DjAssetsError(
                f"{step.key}: {problem}",
                allowed=f"a minimum not above the maximum, and {stat.name} is at least {stat.low:g}",
                try_="move one of its ends, or empty its field for no limit",
            )


def _as_written(value: Any) -> Any:
    """Whole numbers without a point: Data-Juicer takes no 800.0 for a number of pixels."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _default_of(step: Step, option: str) -> str:
    """What holds where the recipe does not set an option, in words."""
    found = {
        bound.option: "no limit" if abs(bound.default) >= NO_LIMIT else f"{bound.default:g}"
        for bound in step.operator.bounds
    }
    return {"any_or_all": step.operator.any_or_all_default, **found}.get(option, "true")


# --- what requests carry


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Count(_Body):
    state: State
    show: Show = "curves"


class Near(_Body):
    state: State
    step: str
    option: str
    most: int = 8
    only_survivors: bool = True


class Undecided(_Body):
    state: State
    step: str


class TradeOff(_Body):
    state: State
    x: tuple[str, str]
    y: tuple[str, str]


class One(_Body):
    state: State
    number: int


class Mark(_Body):
    video: int
    keep: bool | None


class Fit(_Body):
    state: State
    step: str
    option: str


class Save(_Body):
    state: State
    is_dry: bool = True


# --- answers


def _describe(studio: Studio) -> Response:
    studio.refresh()
    return _json(studio.session.describe())


def _count(studio: Studio, body: Count) -> Any:
    return studio.session.count(body.state, show=body.show)


def _near(studio: Studio, body: Near) -> Any:
    most = max(1, min(body.most, MOST_NEAR))
    return studio.session.near(body.state, body.step, body.option, most=most, only_survivors=body.only_survivors)


def _undecided(studio: Studio, body: Undecided) -> Any:
    return studio.session.undecided(body.state, body.step, most=MOST_NEAR)


def _trade_off(studio: Studio, body: TradeOff) -> Any:
    return studio.session.trade_off(body.state, body.x, body.y)


def _sample(studio: Studio, body: One) -> Any:
    return studio.session.sample(body.number, body.state)


def _mark(studio: Studio, body: Mark) -> Any:
    return {"labels": studio.session.mark(body.video, body.keep)}


def _fit(studio: Studio, body: Fit) -> Any:
    return studio.session.fit(body.state, body.step, body.option)


def _save(studio: Studio, body: Save) -> Any:
    done = studio.preview_save(body.state) if body.is_dry else studio.save(body.state)
    return {"changes": list(done.changes), "text": done.text, "saved": not body.is_dry}


POSTS: dict[str, tuple[type[_Body], Callable[[Studio, Any], Any]]] = {
    "count": (Count, _count),
    "near": (Near, _near),
    "undecided": (Undecided, _undecided),
    "trade_off": (TradeOff, _trade_off),
    "sample": (One, _sample),
    "mark": (Mark, _mark),
    "fit": (Fit, _fit),
    "save": (Save, _save),
}


# --- HTTP


def make_app(studio: Studio, *, hosts: Sequence[str]) -> Starlette:
    """The studio as an ASGI application. hosts: names under which it may be asked, without port."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    def post(name: str) -> Any:
        model, answer = POSTS[name]

        def respond(request: Request, content: bytes) -> Response:
            return _json(answer(studio, model.model_validate_json(content)))

        return _guarded(respond)

    def get(respond: Callable[[Request], Response]) -> Any:
        return _guarded(lambda request, content: respond(request))

    return Starlette(
        routes=[
            Route("/", get(lambda request: _static("index.html"))),
            Route("/static/{name}", get(lambda request: _static(request.path_params["name"]))),
            Route("/api/recipe", get(lambda request: _describe(studio))),
            *(Route(f"/api/{name}", post(name), methods=["POST"]) for name in POSTS),
            Route("/picture/{kind}/{video:int}", get(lambda request: _picture(studio, request))),
            Route("/media/{video:int}", get(lambda request: _media(studio, request))),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)],
    )


def _guarded(respond: Callable[[Request, bytes], Response]) -> Any:
    """An endpoint that runs `respond` in a thread, and answers every error that a person can mend as JSON."""
    from starlette.concurrency import run_in_threadpool

    async def endpoint(request: Request) -> Response:
        if request.method == "POST":
            refusal = _refusal(request)
            if refusal:
                return _said(403, refusal)
        content = await request.body() if request.method == "POST" else b""
        try:
            response = await run_in_threadpool(respond, request, content)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"])) or "the request"
            response = _said(400, DjAssetsError(f"{place}: {fault['msg']}", try_="reload the page"))
        except MediaError as error:
            response = _said(403 if error.status == "refused" else 422, error)
        except DjAssetsError as error:
            response = _said(400, error)
        except Exception as error:
            log.exception("a fault of the studio in %s", request.url.path)
            response = _said(500, DjAssetsError(f"a fault of the studio: {error!r}", try_="look at its terminal"))
        response.headers.update(SECURITY)
        return response

    return endpoint


def _refusal(request: Request) -> DjAssetsError | None:
    """Why a request that may change something is not taken. A browser lets no other site send JSON unasked."""
    origin = request.headers.get("origin")
    if origin is not None and re.sub(r"^https?://", "", origin) != request.headers.get("host"):
        return DjAssetsError(
            f"a page of {origin} asked", allowed="this studio's own page", try_="open the studio itself"
        )
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        return DjAssetsError("the request is not JSON", allowed="content-type: application/json")
    return None


def _json(value: Any) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(_plain(value))


def _plain(value: Any) -> Any:
    """Text that JSON over UTF-8 can hold: a file name may not be."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple) and value and not isinstance(value[0], int | float):
        return [_plain(one) for one in value]
    return value


def _said(status: int, error: DjAssetsError) -> Response:
    from starlette.responses import JSONResponse

    said = {"given": error.given, "allowed": error.allowed, "try": error.try_}
    return JSONResponse(_plain(said), status_code=status, headers=SECURITY)


@cache
def _pages() -> dict[str, tuple[Any, str]]:
    """Name -> (file, media type) of everything that /static can give. The chart library is in plotly's own wheel."""
    page = files("dj_assets.studio") / "page"
    return {
        "index.html": (page / "index.html", "text/html; charset=utf-8"),
        "studio.css": (page / "studio.css", "text/css; charset=utf-8"),
        "studio.js": (page / "studio.js", "text/javascript; charset=utf-8"),
        "plotly.min.js": (files("plotly") / "package_data" / "plotly.min.js", "text/javascript; charset=utf-8"),
    }


def _static(name: str) -> Response:
    from starlette.responses import Response

    if name not in _pages():
        return _said(404, DjAssetsError(f"{name} is not here", allowed=", ".join(_pages())))
    file, media_type = _pages()[name]
    return Response(file.read_bytes(), media_type=media_type)


def _picture(studio: Studio, request: Request) -> Response:
    """A thumbnail of a video; or, for ?step=…, the sheet or the moving preview of what a step saw in it."""
    from starlette.responses import Response

    number, kind = request.path_params["video"], request.path_params["kind"]
    video = Video(**studio.session.video(number))
    if video.status == "refused":
        raise Refused(video.reason)  # without another look
    roots, limits = studio.session.plan.roots, studio.limits
    if kind == "thumbnail":
        drawn = studio.picture((kind, number), lambda: evidence.thumbnail(video, roots=roots, limits=limits))
        return Response(drawn, media_type="image/jpeg")
    step = _step(studio, request.query_params.get("step", ""))
    if kind == "preview":
        drawn = studio.picture(
            (kind, number, step.measure_id), lambda: evidence.preview(step, video, roots=roots, limits=limits)
        )
        return Response(drawn, media_type="image/webp")
    if kind == "sheet":
        key = (kind, number, step.measure_id, step.ranges)
        drawn = studio.picture(key, lambda: _sheet(studio, step, video))
        return Response(drawn, media_type="image/jpeg")
    return _said(404, DjAssetsError(f"there is no picture {kind}", allowed="thumbnail, sheet, preview"))


def _step(studio: Studio, key: str) -> Step:
    steps = studio.session.steps
    if key not in steps:
        raise DjAssetsError(f"{key!r} is no step", allowed=", ".join(steps), try_="reload the page")
    return steps[key]


def _sheet(studio: Studio, step: Step, video: Video) -> bytes:
    fact = _fact(studio, step, video)
    title = f"{step.stat_names[0]} = {fact.value:.6g}"
    return evidence.sheet(step, video, fact, title=title, roots=studio.session.plan.roots, limits=studio.limits)


def _fact(studio: Studio, step: Step, video: Video) -> Fact:
    """The stored number with its window values and boxes."""
    store = studio.session.store
    found = store.find_facts(step.operator.name, step.measure_id, {video.content_hash}).get(video.content_hash, ())
    fact = next((one for one in found if one.stat == step.operator.stats[0].name), None)
    if fact is None or fact.value is None:
        raise DjAssetsError(
            f"{step.key} has no number of {video.given}",
            allowed="videos that were measured",
            try_=f"dj-assets analyze {studio.session.plan.recipe.file}",
        )
    return fact


def _media(studio: Studio, request: Request) -> Response:
    """The bytes of one video of the recipe, or a part of them, if it lies in the dataset's folders."""
    from starlette.responses import Response, StreamingResponse

    video = Video(**studio.session.video(request.path_params["video"]))
    media_type = MEDIA_TYPES.get(Path(video.path).suffix.lower())
    if media_type is None:
        error = DjAssetsError(
            f"browsers do not play {Path(video.path).suffix or 'this file'}",
            allowed=" ".join(MEDIA_TYPES),
            try_="look at its pictures, or open it in a player",
        )
        return _said(415, error)
    file = open_file(video.path, roots=studio.session.plan.roots, limits=media_limits(studio.limits))
    size = file.seek(0, 2)
    span = _span(request.headers.get("range", ""), size)
    if span is None:
        file.close()
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    first, last = span
    file.seek(first)
    is_part = "range" in request.headers
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}
    if is_part:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    body = _bytes_of(file, last - first + 1)
    return StreamingResponse(body, status_code=206 if is_part else 200, headers=headers, media_type=media_type)


def _span(text: str, size: int) -> tuple[int, int] | None:
    """(first, last) byte of a Range header; all where there is none. None where it cannot be satisfied."""
    if not text:
        return 0, size - 1
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", text.strip())
    if not found or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) else None
    span = int(first), min(int(last), size - 1) if last else size - 1
    return span if span[0] <= span[1] else None


def _bytes_of(file: BinaryIO, count: int) -> Iterator[bytes]:
    with file:
        while count > 0 and (piece := file.read(min(CHUNK_BYTES, count))):
            count -= len(piece)
            yield piece
