"""Running the service: where it listens, and how it ends."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from clutch_llm.errors import ConfigError, MissingDependencyError
from clutch_llm.serving.settings import ServeConfig, is_loopback

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch

logger = logging.getLogger(__name__)

#: Seconds that answers in progress are given at the end.
GRACE = 10


def check_installed() -> None:
    """Raise where the extra is missing.

    Raises:
        MissingDependencyError: naming what to install.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"Expected fastapi and uvicorn to serve, got none ({error.name}). pip install 'clutch-llm[serve]'"
        ) from error


def check_access(host: str, api_key: str | None, *, without_key: bool = False) -> None:
    """Refuse to be open to other machines by mistake.

    Raises:
        ConfigError: when ``host`` can be reached from elsewhere, there is no key, and it was not said that none is
            wanted.
    """
    if not (is_loopback(host) or api_key or without_key):
        raise ConfigError(
            f"Expected an API key for a service that other machines can reach ({host}), got none. "
            "Set CLUTCH_API_KEY, or say --without-key."
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Raises:
        ConfigError: when the address cannot be had.
    """
    if not 0 <= port < 2**16:
        raise ConfigError(f"Expected a --port from 0 to {2**16 - 1}, got {port}.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ConfigError(
            f"Expected to listen at {host}:{port}, got {error}. Choose another --host or --port."
        ) from error


def serve(
    clutch: Clutch,
    config: ServeConfig,
    listening: socket.socket,
    *,
    announce: Callable[[str], None] = logger.info,
) -> None:
    """Serve until interrupted (Ctrl-C, SIGTERM); answers in progress are finished, for `GRACE` seconds at most.

    Args:
        clutch: the model.
        config: limits.
        listening: as `listen` gives it.
        announce: called once with the page's address.
    """
    import uvicorn

    from clutch_llm.serving.app import create_app

    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    settings = uvicorn.Config(
        create_app(clutch, config),
        log_level="warning",
        server_header=False,
        ws="none",
        http="h11",
        h11_max_incomplete_event_size=32 * 1024,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=2 * config.max_requests,
    )
    announce(f"http://{shown}:{port}/")
    uvicorn.Server(settings).run(sockets=[listening])
