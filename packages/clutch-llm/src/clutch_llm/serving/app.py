"""The service's addresses: an ASGI application over one model."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from hand_geometry.errors import HandGeometryError
from shift_tokenizer.errors import ShiftTokenizerError
from starlette.exceptions import HTTPException

from clutch_llm.errors import ClutchError
from clutch_llm.serving.batcher import Batcher, QueueFullError, StoppedError
from clutch_llm.serving.guard import Guard, Refused
from clutch_llm.serving.metrics import CONTENT_TYPE, Metrics
from clutch_llm.serving.motions import MEDIA_TYPES, Kept, Shelf, claims_of, file_of, joints_of
from clutch_llm.serving.requests import CaptionRequest, ChainRequest, CompleteRequest, GenerateRequest, StreamRequest
from clutch_llm.serving.settings import ServeConfig
from clutch_llm.serving.work import Model

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch

logger = logging.getLogger(__name__)

_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "scene.js": "text/javascript",
           "docs.js": "text/javascript", "three.min.js": "text/javascript"}  # fmt: skip

_DESCRIPTION = """Text to 3D motion of two hands and back. Motions are kept for a while and asked for by their id.
Errors are `{"detail": "what was expected, what was got"}`; 429 and 503 tell with Retry-After when to ask again."""


class Service:
    """What the addresses share.

    Args:
        clutch: the model.
        config: limits.
    """

    def __init__(self, clutch: Clutch, config: ServeConfig) -> None:
        self.clutch, self.config, self.metrics = clutch, config, Metrics()
        self.batcher = Batcher(
            batch_size=config.batch_size,
            gather_ms=config.gather_ms,
            max_queue=config.max_queue,
            max_streams=config.max_streams,
            on_batch=self.metrics.batch,
        )
        self.model = Model(clutch, self.batcher, config)
        self.shelf = Shelf(config.kept_motions)
        self.writing = threading.BoundedSemaphore(1)
        self.metrics.gauges |= {
            "queue_length": ("Jobs that wait for the model.", lambda: self.batcher.waiting),
            "streams": ("Motions that are streamed.", lambda: self.batcher.streaming),
            "kept_motions": ("Motions that can be asked for.", lambda: len(self.shelf)),
        }

    def keep(self, kept: Kept) -> dict[str, Any]:
        """Keep a motion and say what it is."""
        self.metrics.motion(kept.frames)
        return self.shelf.put(kept).facts()

    def find(self, motion: str) -> Kept:
        """The motion of an id."""
        kept = self.shelf.get(motion)
        if kept is None:
            raise Refused(
                404, "No motion of this id is kept. Only the last ones are; make it again from text and seed."
            )
        return kept


def create_app(clutch: Clutch, config: ServeConfig | None = None) -> Guard:
    """The service as an ASGI application; it owns the model from now on.

    Args:
        clutch: the model.
        config: limits; None takes the defaults.

    Returns:
        The application. Its attribute ``app`` is the FastAPI application behind the guard, and ``app.state.service``
        the `Service`.
    """
    config = config or ServeConfig()
    service = Service(clutch, config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.batcher.stop()

    app = FastAPI(
        title="clutch", description=_DESCRIPTION, version="1", docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.service = service
    app.include_router(_router)
    for kind in (ClutchError, HandGeometryError, ShiftTokenizerError, Refused, QueueFullError, StoppedError,
                 TimeoutError, RequestValidationError, HTTPException):  # fmt: skip
        app.add_exception_handler(kind, _answer_error)
    return Guard(app, config, service.metrics)


_router = APIRouter()


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@_router.get("/health", tags=["service"])
def health(request: Request) -> JSONResponse:
    """Whether the service takes requests, and what its model can."""
    service = _service(request)
    clutch, stopping = service.clutch, service.batcher.stopping
    model = {"fps": clutch.fps, "max_seconds": clutch.max_seconds, "parameters": clutch.n_parameters}
    limits = {name: getattr(service.config, name) for name in ("max_text", "max_samples", "max_lines", "max_frames")}
    told = {"status": "stopping" if stopping else "ok", "model": model | service.model.abilities, "limits": limits}
    return JSONResponse(told, status_code=503 if stopping else 200)


@_router.get("/metrics", tags=["service"])
def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(_service(request).metrics.text(), media_type=CONTENT_TYPE)


@_router.post("/v1/generate", tags=["motions"])
async def generate(request: Request, asked: GenerateRequest) -> dict[str, Any]:
    """Motions for a text. Requests that come together are generated together; the result is that of each alone."""
    service = _service(request)
    motions = []
    for kept in await service.model.generate(asked):
        facts = service.keep(kept)
        if asked.features:
            facts["features"] = np.round(kept.motion["features"].astype(np.float64), 6).tolist()
        motions.append(facts)
    return {"motions": motions}


@_router.post("/v1/stream", tags=["motions"])
async def stream(request: Request, asked: StreamRequest) -> StreamingResponse:
    """Server-sent events: `frames` with joints (t, 2, 21, 3) as they are made, then `motion`; or `error`."""
    service = _service(request)
    pieces = service.model.stream(asked)
    first = await anext(pieces)  # what is wrong with the request is an answer of its own, not an event

    async def events() -> AsyncIterator[str]:
        start, piece = 0, first
        try:
            while not isinstance(piece, Kept):
                yield _event("frames", {"start": start, "fps": service.clutch.fps, "joints": joints_of(piece)})
                start += len(piece)
                piece = await anext(pieces)
            yield _event("motion", service.keep(piece))
        except Exception as error:
            status, detail = _status_of(error)
            if status == 500:
                logger.exception("a stream ended")
            yield _event("error", {"status": status, "detail": detail})
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


@_router.post("/v1/caption", tags=["motions"])
async def caption(request: Request, asked: CaptionRequest) -> dict[str, Any]:
    """What a motion does, in the model's words."""
    service = _service(request)
    return await service.model.caption(asked, service.find(asked.motion) if asked.motion else None)


@_router.post("/v1/complete", tags=["motions"])
async def complete(request: Request, asked: CompleteRequest) -> dict[str, Any]:
    """A motion whose gaps are filled: another sample of one hand, a past, a future. Where the model can."""
    service = _service(request)
    made = await service.model.complete(asked, service.find(asked.motion) if asked.motion else None)
    return {"motions": [service.keep(kept) for kept in made]}


@_router.post("/v1/chain", tags=["motions"])
async def chain(request: Request, asked: ChainRequest) -> dict[str, Any]:
    """One motion of several sentences."""
    service = _service(request)
    kept, times = await service.model.chain(asked)
    return {"motion": service.keep(kept), "lines": times}


@_router.get("/v1/motions/{motion}", tags=["motions"])
def facts(request: Request, motion: str) -> dict[str, Any]:
    """What a motion is."""
    return _service(request).find(motion).facts()


@_router.get("/v1/motions/{motion}/joints", tags=["motions"])
def joints(request: Request, motion: str) -> dict[str, Any]:
    """Its joints (T, 2, 21, 3) in metres: wrist, then thumb to little finger from base to tip."""
    kept = _service(request).find(motion)
    return {"fps": kept.motion["fps"], "joints": joints_of(kept.motion["features"])}


@_router.get("/v1/motions/{motion}/claims", tags=["motions"])
def claims(request: Request, motion: str) -> dict[str, Any]:
    """What it was to do and whether it does, and what is measured on it."""
    return dict(claims_of(_service(request).find(motion).motion))


@_router.get("/v1/motions/{motion}/file.{suffix}", tags=["motions"])
def download(request: Request, motion: str, suffix: Literal["glb", "bvh", "npz", "mp4"]) -> Response:
    """It as a file for other programs. One file is written at a time."""
    service = _service(request)
    kept = service.find(motion)
    if not service.writing.acquire(timeout=service.config.timeout):
        raise QueueFullError("Other files are being written. Ask again later.", 5)
    try:
        content = file_of(kept, suffix)
    finally:
        service.writing.release()
    headers = {"Content-Disposition": f'attachment; filename="clutch-{kept.id}.{suffix}"', "Cache-Control": "no-store"}
    return Response(content, media_type=MEDIA_TYPES[suffix], headers=headers)


@_router.get("/", include_in_schema=False)
def page() -> Response:
    """The page."""
    return Response(_asset("page.html"), media_type="text/html; charset=utf-8")


@_router.get("/docs", include_in_schema=False)
def docs() -> Response:
    """The OpenAPI description as a page; nothing is fetched from elsewhere."""
    return Response(_asset("docs.html"), media_type="text/html; charset=utf-8")


@_router.get("/assets/{name}", include_in_schema=False)
def asset(name: str) -> Response:
    """What the pages are made of."""
    if name not in _ASSETS:
        raise Refused(404, "Not here.")
    return Response(_asset(name), media_type=f"{_ASSETS[name]}; charset=utf-8")


def _asset(name: str) -> bytes:
    package = "hand_geometry.viewing" if name in ("three.min.js", "scene.js") else "clutch_llm.serving"
    return resources.files(package).joinpath("assets", name).read_bytes()


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'), allow_nan=False)}\n\n"


def _status_of(error: Exception) -> tuple[int, str]:
    """Status and reason of an error."""
    if isinstance(error, Refused):
        return error.status, error.detail
    if isinstance(error, QueueFullError):
        return 429, str(error)
    if isinstance(error, StoppedError):
        return 503, str(error)
    if isinstance(error, TimeoutError):
        return 503, "The model did not get to it in time."
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if isinstance(error, ClutchError | HandGeometryError | ShiftTokenizerError):
        return 422, " ".join(str(error).split())
    return 500, "An error of the service; its log has the rest."


async def _answer_error(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        problems = [{"at": ".".join(str(part) for part in e["loc"])[:200], "problem": e["msg"][:500]}
                    for e in error.errors()[:20]]  # fmt: skip
        said = "; ".join(f"{p['at']}: {p['problem']}" for p in problems[:3])
        return JSONResponse({"detail": said, "problems": problems}, status_code=422)
    status, detail = _status_of(error)
    headers = dict(getattr(error, "headers", None) or {})
    if status in (429, 503):
        headers["Retry-After"] = str(getattr(error, "retry_after", 1))
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)
