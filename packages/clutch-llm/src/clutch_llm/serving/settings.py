"""Settings of the service: its limits, who may speak to it, and where it listens."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from clutch_llm.errors import ConfigError

#: Names that a browser on this machine uses.
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeConfig:
    """Limits of the service.

    Attributes:
        allowed_hosts: names in the Host header that are answered, without port; "*" answers all. A page elsewhere
            whose name is pointed at this machine is refused so.
        api_key: what requests must carry, ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``; None asks for none.
        max_body: bytes of a request's body.
        max_text: characters of a text.
        max_samples: motions of one request, its ``rank`` counted: ``samples * rank``.
        max_lines: sentences of a chain.
        max_frames: frames of a motion that is sent in, and of a chain.
        max_requests: requests in flight; more are answered 503.
        max_queue: jobs that wait for the model; more are answered 429.
        max_streams: motions that are streamed at once; more are answered 429.
        batch_size: motions that are generated as one batch.
        gather_ms: milliseconds for which the first of a batch waits for others.
        timeout: seconds after which a job that is not done is answered 503, and a body that has not come 408.
        kept_motions: motions that can still be asked for; the oldest go first.
    """

    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    api_key: str | None = field(default=None, repr=False)
    max_body: int = 4 * 2**20
    max_text: int = 500
    max_samples: int = 16
    max_lines: int = 32
    max_frames: int = 1800
    max_requests: int = 128
    max_queue: int = 64
    max_streams: int = 8
    batch_size: int = 32
    gather_ms: float = 5.0
    timeout: float = 60.0
    kept_motions: int = 256

    def __post_init__(self) -> None:
        for name in ("max_body", "max_text", "max_samples", "max_lines", "max_frames", "max_requests", "max_queue",
                     "max_streams", "batch_size", "kept_motions"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ConfigError(f"Expected {name} of at least 1, got {getattr(self, name)}.")
        if not 0 <= self.gather_ms <= 1000:
            raise ConfigError(f"Expected gather_ms from 0 to 1000, got {self.gather_ms}.")
        if not 0 < self.timeout < float("inf"):
            raise ConfigError(f"Expected a timeout above 0 seconds, got {self.timeout}.")
        if self.api_key is not None and (not self.api_key.isascii() or len(self.api_key) < 8):
            raise ConfigError("Expected an API key of at least 8 ASCII characters. Set CLUTCH_API_KEY to a longer one.")


def is_loopback(host: str) -> bool:
    """Whether an address to listen at can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
