"""What every request passes before anything else: host, origin, key, size and number."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from clutch_llm.serving.metrics import Metrics
from clutch_llm.serving.settings import ServeConfig

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: What needs no key: the page itself, which asks for it, and whether the service is there.
_OPEN = ("/", "/docs", "/health")
_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE")

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        b"connect-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)


class Refused(Exception):  # noqa: N818 - an answer rather than an error
    """A request that is answered here."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class Guard:
    """An ASGI application around another.

    Args:
        app: what answers the requests that pass.
        config: limits, hosts and key.
        metrics: where answers are counted.
    """

    def __init__(self, app: App, config: ServeConfig, metrics: Metrics) -> None:
        self.app, self.config, self.metrics = app, config, metrics
        self.running = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, self.running = time.monotonic(), 500, self.running + 1

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
            await send(message)

        try:
            self._check(scope)
            body = await self._body(scope, receive)
            await self.app(scope, _replay(body, receive), answer)
        except Refused as refused:
            await _refuse(refused, answer)
        finally:
            self.running -= 1
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", None) or "none"
            self.metrics.request(method, route, status, time.monotonic() - began)

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        name = _name_of(host)
        if "*" not in self.config.allowed_hosts and name not in self.config.allowed_hosts:
            raise Refused(
                400, "The Host of the request is none that this service answers to. Start it with --allow-host NAME."
            )
        origin = headers.get(b"origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD") and not _same(origin.decode("latin-1"), host):
            raise Refused(403, "The request comes from a page of another origin.")
        if self.running > self.config.max_requests:
            raise Refused(503, f"{self.config.max_requests} requests are answered already.", {"Retry-After": "1"})
        path = scope["path"]
        if self.config.api_key is None or path in _OPEN or path.startswith("/assets/"):
            return
        given = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            given = token.strip()
        if not hmac.compare_digest(given, self.config.api_key.encode()):
            raise Refused(401, "Expected the service's API key as Authorization: Bearer KEY or X-API-Key: KEY.",
                          {"WWW-Authenticate": "Bearer"})  # fmt: skip

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        """The whole body, of at most ``max_body`` bytes, within ``timeout`` seconds."""
        most = self.config.max_body
        told = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = Refused(413, f"Expected a body of at most {most} bytes.", {"Connection": "close"})
        if not told.isdigit() or len(told) > 18:
            raise Refused(400, "Expected Content-Length as a number.", {"Connection": "close"})
        if int(told) > most:
            raise too_large
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self.config.timeout):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "The body ended too early.")
                    part = message.get("body", b"")
                    size, more = size + len(part), message.get("more_body", False)
                    if size > most:
                        raise too_large
                    parts.append(part)
        except TimeoutError as error:
            raise Refused(
                408, f"Expected the body within {self.config.timeout:g} s.", {"Connection": "close"}
            ) from error
        return b"".join(parts)


def _name_of(host: str) -> str:
    """Name of a Host header, without port and brackets, in small letters; "" where it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _same(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(refused: Refused, send: Send) -> None:
    body = json.dumps({"detail": refused.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
