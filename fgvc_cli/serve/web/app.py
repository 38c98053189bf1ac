"""The addresses of the server: the page, and the JSON endpoints that it uses, described by /openapi.json."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from fgvc_cli import __version__
from fgvc_cli.errors import FgvcError
from fgvc_cli.serve.limits import LONGEST_NAME
from fgvc_cli.serve.problems import (
    BAD,
    BUSY,
    CONFLICT,
    FAILED,
    LATE,
    NOT_FOUND,
    SLOW,
    TOO_LARGE,
    WRONG,
    Problem,
)
from fgvc_cli.serve.site import Site
from fgvc_cli.serve.uploads import ID
from fgvc_cli.serve.views import AnswerView, CorrectionView, ModelView, ProblemView, RetrainingView, Wish
from fgvc_cli.serve.web import page
from fgvc_cli.streams import tell

_WORDS = {
    BAD: "the image did not arrive whole",
    NOT_FOUND: "there is no such thing (any more)",
    SLOW: "the image came too slowly",
    CONFLICT: "not possible as things are",
    TOO_LARGE: "the file or the image is too large",
    WRONG: "a wrong value, or no image that can be read",
    BUSY: "too many requests are waiting: try again",
    LATE: "no answer in time",
}
Responses = dict[int | str, dict[str, Any]]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PNG: Responses = {200: {"content": {"image/png": _BINARY}}}
_WEBP: Responses = {200: {"content": {"image/webp": _BINARY}}}
_BODY = {"requestBody": {"required": True, "content": {"image/*": _BINARY}}}

router = APIRouter()


def _site(request: Request) -> Site:
    found: Site = request.app.state.site
    return found


Here = Annotated[Site, Depends(_site)]
Id = Annotated[str, Path(pattern=f"^{ID}$", description="of an image, as its answer says")]
Name = Annotated[str, Query(max_length=LONGEST_NAME, description="the file's name, to be shown and recorded")]
ClassName = Annotated[str | None, Query(max_length=1000)]


def _problems(*statuses: int) -> Responses:
    return {status: {"model": ProblemView, "description": _WORDS[status]} for status in statuses}


# ---- the page


@router.get("/", include_in_schema=False)
def front(site: Here) -> HTMLResponse:
    """The page."""
    return HTMLResponse(page.front(site))


@router.get("/api", include_in_schema=False)
def description(request: Request) -> HTMLResponse:
    """The endpoints, to read."""
    return HTMLResponse(page.endpoints(request.app.openapi()))


@router.get("/style.css", include_in_schema=False)
def style() -> Response:
    """The style sheet."""
    return Response(page.style_sheet(), media_type="text/css")


@router.get("/page.js", include_in_schema=False)
def script() -> Response:
    """The script."""
    return Response(page.script(), media_type="text/javascript")


# ---- JSON


@router.get("/api/model")
async def model(site: Here) -> ModelView:
    """The model that answers."""
    return site.model()


@router.post(
    "/api/images", responses=_problems(BAD, SLOW, TOO_LARGE, WRONG, BUSY, LATE), openapi_extra=_BODY, status_code=200
)
async def classify(request: Request, site: Here, name: Name = "") -> AnswerView:
    """Answer an image: the request's body is the file, of any format that fgvc reads."""
    length = request.headers.get("content-length", "")
    return await site.answer(_pieces(request), int(length) if length.isdecimal() else 0, name)


@router.get("/api/images", responses=_problems(LATE))
async def answers(site: Here) -> list[AnswerView]:
    """All answers that are kept, the least certain first."""
    return await site.answers()


@router.get("/api/images/{id}", responses=_problems(WRONG, NOT_FOUND, LATE))
async def answer(site: Here, id: Id) -> AnswerView:
    """One answer."""
    return await site.one(id)


@router.get("/api/images/{id}/thumbnail", response_class=Response, responses=_WEBP | _problems(WRONG, NOT_FOUND, LATE))
async def picture(site: Here, id: Id) -> Response:
    """A small copy of an image."""
    return Response(await site.picture(id), media_type="image/webp")


@router.get(
    "/api/images/{id}/why/{kind}",
    response_class=Response,
    responses=_PNG | _problems(WRONG, NOT_FOUND, CONFLICT, BUSY, LATE),
)
async def why(
    site: Here,
    id: Id,
    kind: Annotated[str, Path(max_length=40, description="of the model's `kinds`")],
    label: Annotated[ClassName, Query(alias="class", description="explain this class instead of the answer")] = None,
    against: Annotated[ClassName, Query(description="versus: the class to compare it with")] = None,
) -> Response:
    """A picture of why: what the answer rests on."""
    return Response(await site.why(id, kind, label, against), media_type="image/png")


@router.put("/api/images/{id}/correction", responses=_problems(WRONG, NOT_FOUND, LATE))
async def correct(site: Here, id: Id, wish: Wish) -> CorrectionView:
    """Record which class an image really shows, or none of them."""
    return await site.correct(id, wish.name)


@router.delete(
    "/api/images/{id}/correction", status_code=204, response_model=None, responses=_problems(WRONG, NOT_FOUND, LATE)
)
async def take_back(site: Here, id: Id) -> None:
    """Remove a correction."""
    await site.take_back(id)


@router.get("/api/corrections", responses=_problems(LATE))
async def corrections(site: Here) -> list[CorrectionView]:
    """All corrections, oldest first."""
    return await site.corrected()


@router.post("/api/retrain", responses=_problems(CONFLICT, LATE))
async def retrain(site: Here) -> RetrainingView:
    """Write a table of the run's images and the corrections, and tell the command that trains on it."""
    return await site.retraining()


@router.get(
    "/api/training/{number}/thumbnail",
    response_class=Response,
    responses=_WEBP | _problems(WRONG, NOT_FOUND, LATE),
)
async def training_picture(site: Here, number: int) -> Response:
    """A small copy of a training image."""
    return Response(await site.training_picture(number), media_type="image/webp")


# ---- the whole


def create_app(site: Site) -> FastAPI:
    """The application, without its guard."""
    app = FastAPI(title="fgvc serve", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.site = site
    app.include_router(router)
    app.add_exception_handler(FgvcError, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _wrong_value)
    app.add_exception_handler(Exception, _unexpected)
    return app


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise Problem("the image did not arrive whole", BAD) from None


def _said(line: str, status: int) -> JSONResponse:
    return JSONResponse({"error": line}, status, {"Retry-After": "1"} if status in (BUSY, LATE) else None)


def _problem(request: Request, error: Exception) -> JSONResponse:
    status = error.status if isinstance(error, Problem) else FAILED
    return _said(" ".join(str(error).split()), status)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _said(str(error.detail), error.status_code)


def _wrong_value(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    return _said(f"{where}: {first['msg']}", WRONG)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """A fault of fgvc's own, or of the machine: one line here too."""
    line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    tell(f"fgvc: {request.method} {request.url.path}: {line}")
    return _said("this failed; the server's terminal shows why", FAILED)
