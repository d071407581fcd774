"""Serving the viewer's page to a browser on this or another machine."""

from __future__ import annotations

import http.server
import logging
import webbrowser
from collections.abc import Callable

from hand_geometry.errors import InputError

_LOG = logging.getLogger(__name__)


class PageServer(http.server.ThreadingHTTPServer):
    """Serves one page at ``/`` and nothing else: no file of this machine can be asked for.

    Attributes:
        url: Where a browser on this machine finds it.
    """

    daemon_threads = True

    def __init__(self, page: str, host: str = "127.0.0.1", port: int = 0) -> None:
        """Open the port.

        Args:
            page: HTML.
            host: Address to listen at; "0.0.0.0" for all of this machine's.
            port: Port; 0 takes a free one.

        Raises:
            InputError: If the port cannot be had.
        """
        content = page.encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.split("?")[0] == "/"
                body = content if found else b"Not here. The viewer is at /"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8" if found else "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                _LOG.debug(format, *args)

        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port: Expected to listen at {host}:{port}, got {error}. Pass another --port; 0 takes a free one."
            ) from error
        shown = "127.0.0.1" if host in ("", "0.0.0.0") else host
        self.url = f"http://{shown}:{self.server_address[1]}/"


def serve(
    page: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
    announce: Callable[[str], None] = _LOG.info,
) -> None:
    """Serve a page until interrupted (Ctrl-C).

    Args:
        page: HTML.
        host: Address to listen at.
        port: Port; 0 takes a free one.
        browser: Whether to open a browser on this machine.
        announce: Called once with the page's address.

    Raises:
        InputError: If the port cannot be had.
    """
    with PageServer(page, host, port) as server:
        announce(server.url)
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            _LOG.debug("stopped")
