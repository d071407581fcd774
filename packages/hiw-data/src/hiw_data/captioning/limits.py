"""Requests and tokens a minute: a sliding window over the last 60 seconds, on any clock."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

WINDOW = 60.0


class Clock(Protocol):
    """Tells the time and waits; tests bring one of their own."""

    def now(self) -> float:
        """Seconds, never going back."""

    async def sleep(self, seconds: float) -> None:
        """Waits."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)


@dataclass
class Spent:
    """One request in the window; ``tokens`` is a guess until the endpoint has said."""

    at: float
    tokens: int


class RateLimit:
    """Lets a request through when the last 60 seconds leave room for it, in the order of asking.

    Args:
        requests, tokens: In any 60 seconds, at most; None for no limit. A request that is larger than ``tokens`` goes
            alone.
        clock: Where the time comes from.
    """

    def __init__(self, requests: int | None, tokens: int | None, clock: Clock) -> None:
        self._requests, self._tokens, self._clock = requests, tokens, clock
        self._window: deque[Spent] = deque()
        self._paused_until = 0.0
        self._turn = asyncio.Lock()

    def pause(self, seconds: float) -> None:
        """Lets nothing through for so long: the endpoint has asked for it (Retry-After)."""
        self._paused_until = max(self._paused_until, self._clock.now() + seconds)

    async def acquire(self, tokens: int) -> Spent:
        """Waits until a request of about so many tokens fits; set ``tokens`` of what it returns when they are known."""
        async with self._turn:
            while (wait := self._wait(tokens)) > 0:
                await self._clock.sleep(wait)
            spent = Spent(self._clock.now(), tokens)
            self._window.append(spent)
            return spent

    def _wait(self, tokens: int) -> float:
        """Seconds until it is worth looking again; 0 if the request fits now."""
        now = self._clock.now()
        if now < self._paused_until:
            return self._paused_until - now
        while self._window and self._window[0].at + WINDOW <= now:
            self._window.popleft()
        full = self._requests is not None and len(self._window) >= self._requests
        used = sum(spent.tokens for spent in self._window)
        heavy = self._tokens is not None and bool(self._window) and used + tokens > self._tokens
        return max(self._window[0].at + WINDOW - now, 1e-3) if full or heavy else 0.0
