"""A server of one store for this machine: a page to look at it, its clips as JSON, and videos by parts."""

from __future__ import annotations

import http.server
import json
import logging
import os
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from hand_geometry.errors import HandGeometryError

from hiw_data.browsing.documents import clip_document, clip_motion, features_document, store_document
from hiw_data.browsing.index import ClipIndex, parse_query
from hiw_data.browsing.page_files import page_file
from hiw_data.browsing.requests import byte_range, host_is_local
from hiw_data.browsing.videos import VideoFolder, media_type
from hiw_data.errors import HiwDataError, OptionError
from hiw_data.store.reader import HiwStore

_LOG = logging.getLogger(__name__)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_BLOCK = 1 << 18


class _RefusedError(Exception):
    """A request that is answered with a status and a reason."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers or {}


class BrowseServer(http.server.ThreadingHTTPServer):
    """Serves a store on 127.0.0.1: the page at ``/``, and what it is made of.

    For programs: ``/api/stats``, ``/api/clips``, ``/api/clips/ID``, ``/motion/ID`` (.glb) and ``/video/ID``.

    It answers requests that name this machine alone, reads only the store and the videos of one folder, and writes
    nothing. Parameters that are not understood give 400 with a reason, what is not there 404.

    Attributes:
        store, index, videos: What is served; ``videos`` is None without a folder of them.
        url: Where a program on this machine finds it.
    """

    daemon_threads = True

    def __init__(self, store: HiwStore, videos: str | Path | None = None, port: int = 0) -> None:
        """Opens the port.

        Args:
            store: Open.
            videos: A folder; clips whose attribute "file" names a video in it are shown with it.
            port: 0 takes a free one.

        Raises:
            OptionError: There is no such folder, or the port cannot be had.
        """
        self.store, self.index = store, ClipIndex(store)
        self.videos = VideoFolder(videos) if videos is not None else None
        self._features: dict[str, Any] | None = None
        self._lock = threading.Lock()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise OptionError(
                f"Expected to listen at port {port}, got {error}. Pass another --port; 0 takes a free one."
            ) from error
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def features(self) -> dict[str, Any]:
        """Figures of all motion, measured when first asked for."""
        with self._lock:
            if self._features is None:
                self._features = features_document(self.store)
            return self._features

    def video(self, position: int) -> Path | None:
        """The video of the clip at a position; None if there is none."""
        return self.videos.find(self.store.words(position)["attributes"].get("file")) if self.videos else None


class _Handler(http.server.BaseHTTPRequestHandler):
    server: BrowseServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        try:
            self._answer()
        except _RefusedError as refused:
            self._send_json({"error": refused.reason}, refused.status, refused.headers)
        except OptionError as error:
            self._send_json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except (HiwDataError, HandGeometryError) as error:
            self._send_json({"error": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body is not read, and must not be taken for the next request
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not host_is_local(hosts[0], self.server.server_address[1]):
            raise _RefusedError(403, f"Expected a request to {self.server.url}, got one to another host.")
        try:
            parts = urlsplit(self.path)
        except ValueError as error:
            raise _RefusedError(400, f"Expected an address, got one that cannot be read ({error}).") from error
        path = parts.path
        if (found := page_file(path)) is not None:
            self._send(*found)
        elif path == "/api/stats":
            self._send_json(self._stats(_parameters(parts.query)))
        elif path == "/api/clips":
            query, offset, limit = parse_query(_parameters(parts.query))
            self._send_json(self.server.index.page(query, offset, limit))
        elif path.startswith("/api/clips/"):
            position = self._position(path.removeprefix("/api/clips/"))
            video = self.server.video(position) is not None
            self._send_json({**clip_document(self.server.store, position), "video": video})
        elif path.startswith("/motion/"):
            motion = clip_motion(self.server.store, self._position(path.removeprefix("/motion/")))
            self._send(motion, "model/gltf-binary")
        elif path.startswith("/video/"):
            self._send_video(self._position(path.removeprefix("/video/")))
        else:
            raise _RefusedError(404, "Expected /, /api/stats, /api/clips, /api/clips/ID, /motion/ID or /video/ID.")

    def _stats(self, parameters: dict[str, str]) -> dict[str, Any]:
        wanted = parameters.pop("features", "false")
        if parameters or wanted not in ("true", "false"):
            raise OptionError("Expected features=true, features=false or no parameter.")
        document = store_document(self.server.store)
        return {**document, **self.server.features()} if wanted == "true" else document

    def _position(self, quoted: str) -> int:
        try:
            clip_id = unquote(quoted, errors="strict")
        except UnicodeDecodeError as error:
            raise _RefusedError(400, "Expected a clip's name in UTF-8, got other bytes.") from error
        position = self.server.index.position(clip_id)
        if position is None:
            raise _RefusedError(404, f"Expected the name of a clip of this store, got {clip_id[:200]!r}.")
        return position

    def _send_video(self, position: int) -> None:
        path = self.server.video(position)
        if path is None:
            raise _RefusedError(404, "Expected a clip with a video; see --videos of `hiw browse`.")
        try:
            file = path.open("rb")
        except OSError as error:
            raise _RefusedError(404, "Expected a video that can be read; it is gone or closed to this user.") from error
        with file:
            size = os.fstat(file.fileno()).st_size
            try:
                part = byte_range(self.headers.get("Range"), size)
            except ValueError as error:
                raise _RefusedError(416, str(error), {"Content-Range": f"bytes */{size}"}) from error
            first, end = part or (0, size)
            headers = {"Accept-Ranges": "bytes"}
            if part is not None:
                headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
            self._head(206 if part is not None else 200, media_type(path), end - first, headers)
            if self.command != "HEAD":
                self._copy(file, first, end)

    def _copy(self, file: BinaryIO, first: int, end: int) -> None:
        file.seek(first)
        while first < end:
            block = file.read(min(_BLOCK, end - first))
            if not block:  # the file was cut short meanwhile
                self.close_connection = True
                return
            self.wfile.write(block)
            first += len(block)

    def _send_json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")
        self._send(body, "application/json; charset=utf-8", status, headers)

    def _send(self, body: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._head(status, kind, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, kind: str, size: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(size), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        _LOG.debug(format, *args)


def _parameters(query: str) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=20)
    except ValueError as error:
        raise OptionError(f"Expected parameters as name=value&name=value in UTF-8 ({str(error)[:100]}).") from error
    found = dict(pairs)
    if len(found) != len(pairs):
        raise OptionError("Expected each parameter once, got one twice.")
    return found
