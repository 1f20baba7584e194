"""A web service around an artifact: an image in, detections as JSON out.

    pip install "pedseg[prometheus]" fastapi uvicorn
    PEDSEG_ARTIFACT=pedseg.onnx PEDSEG_DEVICE=cuda uvicorn --factory app:from_environment

    curl --data-binary @street.jpg "http://localhost:8000/segment?score_threshold=0.5"
    curl http://localhost:8000/health
    curl http://localhost:8000/metrics

grafana-dashboard.json shows the metrics, load_test.py puts a running service under load.
One process per GPU; more clients at once make fuller batches, not more sessions.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pedseg_runtime import (
    BatchingSegmenter,
    ClosedError,
    DeadlineError,
    Detections,
    InputError,
    PedsegError,
    PrometheusMetrics,
    QueueFullError,
    Segmenter,
)

STATUS: dict[type[Exception], int] = {
    InputError: 400,
    ClosedError: 503,
    QueueFullError: 503,
    DeadlineError: 504,
}

logger = logging.getLogger("pedseg.service")
router = APIRouter()


def from_environment() -> FastAPI:
    """The service that PEDSEG_ARTIFACT, PEDSEG_DEVICE and PEDSEG_QUEUE_LIMIT describe."""
    return create_app(
        os.environ["PEDSEG_ARTIFACT"],
        device=os.environ.get("PEDSEG_DEVICE", "auto"),
        queue_limit=int(os.environ.get("PEDSEG_QUEUE_LIMIT", "64")),
    )


def create_app(
    artifact: str,
    *,
    device: str = "auto",
    max_bytes: int = 20 << 20,
    max_pixels: int = 4096 * 4096,
    seconds: float = 10.0,
    queue_limit: int = 64,
) -> FastAPI:
    """The service for one artifact.

    Args:
        artifact: a file made by pedseg-export.
        device: "cpu" and "cuda" run there, or the service does not start.
        max_bytes: largest request body; larger ones get 413 and are not read to their end.
        max_pixels: largest image.
        seconds: a request that takes longer gets 504.
        queue_limit: more waiting requests than this get 503 at once.
    """
    metrics = PrometheusMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Load before the first request; answer what waits before the end."""
        with (
            Segmenter.load(artifact, device=device, max_pixels=max_pixels) as segmenter,
            BatchingSegmenter(segmenter, queue_limit=queue_limit, observer=metrics) as batching,
        ):
            app.state.segmenter, app.state.batching = segmenter, batching
            yield

    app = FastAPI(title="pedseg", lifespan=lifespan)
    app.state.max_bytes, app.state.seconds, app.state.metrics = max_bytes, seconds, metrics
    app.add_middleware(TimedResponses, metrics=metrics)
    app.add_exception_handler(PedsegError, failed)
    app.include_router(router)
    return app


class TimedResponses:
    """Middleware that counts and times all responses, also those that no route made."""

    def __init__(self, app: ASGIApp, metrics: PrometheusMetrics) -> None:
        self.app = app
        ProcessCollector(registry=metrics.registry)
        self.seconds = Histogram(
            "pedseg_http_request_duration_seconds",
            "Seconds from the head of a request to the end of its response",
            ("route", "code"),
            registry=metrics.registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note the code of its response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, code = time.perf_counter(), 500  # what an exception becomes further out

        async def noting(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            # Of the route, not of the request: strangers would make any number of series.
            route = getattr(scope.get("route"), "path", "none")
            self.seconds.labels(route, code).observe(time.perf_counter() - start)


async def failed(_request: Request, error: Exception) -> JSONResponse:
    """An error as an answer; one that is not made on purpose goes to the log, not to strangers."""
    status = STATUS.get(type(error), 500)
    headers = {"Retry-After": "1"} if status == 503 else {}
    content = {"error": type(error).__name__, "message": str(error)}
    if not isinstance(error, PedsegError):
        logger.error("a request failed", exc_info=error)
        content = {"error": "InternalError", "message": "unexpected failure; see the server's log"}
    return JSONResponse(content, status, headers)


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """What really answers here, not what was asked for."""
    info = request.app.state.segmenter.info
    return {
        "provider": info.provider,
        "nodes": info.nodes(),
        "threads": info.threads,
        "cpu_quota": info.cpu_quota,
        "self_test": info.self_test,
        "digest": info.digest,
        "precision": info.precision,
        "versions": info.versions,
    }


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counts and times since the start, for Prometheus."""
    return Response(
        generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST
    )


@router.post("/segment", response_model=None)
async def segment(
    request: Request, score_threshold: float | None = Query(None, ge=0, le=1)
) -> JSONResponse | dict[str, Any]:
    """Detections of the image in the body: COCO entries with run-length masks."""
    state = request.app.state
    with state.metrics.stage("receive"):
        body = await read_body(request, state.max_bytes)
    if body is None:
        message = f"expected at most {state.max_bytes} bytes, found more; send a smaller image"
        return JSONResponse({"error": "TooLarge", "message": message}, 413)
    try:
        detections = await state.batching.asegment(
            body, score_threshold=score_threshold, timeout=state.seconds
        )
        with state.metrics.stage("encode"):
            return await asyncio.to_thread(encode, detections)
    except Exception as error:  # of any kind: it is this request's
        return await failed(request, error)


def encode(detections: Detections) -> dict[str, Any]:
    """What is answered; the masks of many people take milliseconds."""
    height, width = detections.image_size
    return {"width": width, "height": height, "detections": detections.to_coco("image")}


async def read_body(request: Request, most: int) -> bytes | None:
    """The body of a request, or None as soon as it turns out to have more bytes than `most`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)
