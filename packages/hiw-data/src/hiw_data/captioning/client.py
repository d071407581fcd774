"""One endpoint asked with patience: bounded, rate-limited, retried, validated, and never twice for a kept answer."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from hiw_data.captioning.cache import AnswerCache
from hiw_data.captioning.endpoint import Endpoint
from hiw_data.captioning.limits import Clock, RateLimit, SystemClock
from hiw_data.captioning.problems import EndpointError, QuestionError, require
from hiw_data.captioning.prompt_files import prompt
from hiw_data.captioning.questions import Question
from hiw_data.captioning.validation import InvalidAnswerError, parse_answer

logger = logging.getLogger(__name__)

_LEASE_SECONDS, _RENEW_SECONDS = 60.0, 20.0
_LETTERS_PER_TOKEN = 4
_HOPELESS = {401: "the key was refused", 403: "the key may not do this", 404: "no such address or model"}
_PASSING = (408, 409, 429)


@dataclass
class Usage:
    """What an endpoint was asked, and what it cost.

    Attributes:
        questions: Asked of this client.
        kept: Of those, answered from the file of kept answers.
        requests: Sent over the network.
        failures: Requests that timed out, were dropped, or answered with an error.
        invalid: Answers that did not fit their schema.
        tokens_in, tokens_out: As the endpoint counted them.
        cost: By the endpoint's prices.
    """

    questions: int = 0
    kept: int = 0
    requests: int = 0
    failures: int = 0
    invalid: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Reply:
    text: str
    tokens_in: int
    tokens_out: int
    finish: str


class _Passing(Exception):  # noqa: N818 - not an error of anybody's yet
    """A failure that may pass; ``wait`` is what the endpoint asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class ChatClient:
    """Asks questions of one endpoint.

    Args:
        endpoint: Where, and how gently.
        cache: Kept answers; shared by clients and processes.
        clock: For rate limits and waits between tries.
        seed: Draws the jitter.
    """

    def __init__(self, endpoint: Endpoint, cache: AnswerCache, clock: Clock | None = None, seed: int = 0) -> None:
        self.endpoint, self.usage = endpoint, Usage()
        self._cache, self._clock, self._random = cache, clock or SystemClock(), random.Random(seed)
        self._limit = RateLimit(endpoint.requests_per_minute, endpoint.tokens_per_minute, self._clock)
        self._gate = asyncio.Semaphore(endpoint.concurrency)
        self._openai = require("openai", "vlm")
        # A key of the environment must not go to an endpoint that was given none.
        key = endpoint.key.reveal() if endpoint.key else "none"
        self._client = self._openai.AsyncOpenAI(
            api_key=key, base_url=endpoint.base_url, max_retries=0, timeout=endpoint.timeout
        )
        self._unanswered, self._stopped = 0, ""

    async def __aenter__(self) -> ChatClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()

    async def ask(self, question: Question) -> dict[str, Any]:
        """The answer, kept or new.

        Raises:
            QuestionError: There is no usable answer to this question.
            EndpointError: There will be none to any question.
            CacheError: Answers cannot be kept.
        """
        self.usage.questions += 1
        key = question.key(
            self.endpoint.model, temperature=self.endpoint.temperature, max_tokens=self.endpoint.max_tokens
        )
        pause = 0.02
        while True:
            if (kept := await asyncio.to_thread(self._cache.get, key)) is not None:
                self.usage.kept += 1
                return dict(kept["value"])
            if (owner := await asyncio.to_thread(self._cache.take, key, _LEASE_SECONDS)) is not None:
                break
            await asyncio.sleep(pause)  # somebody else is asking the same
            pause = min(2 * pause, 1.0)
        async with self._leased(key, owner):
            return await self._converse(question, key)

    @asynccontextmanager
    async def _leased(self, key: str, owner: str) -> AsyncIterator[None]:
        async def renew() -> None:
            while True:
                await asyncio.sleep(_RENEW_SECONDS)
                await asyncio.to_thread(self._cache.renew, key, owner, _LEASE_SECONDS)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
            self._cache.release(key, owner)

    async def _converse(self, question: Question, key: str) -> dict[str, Any]:
        """Asks until an answer is valid, telling the model each time what was wrong with the last one."""
        name, messages, problem = question.prompt.name, question.messages(), ""
        for _ in range(self.endpoint.answers):
            reply = await self._send(question, messages)
            try:
                value = parse_answer(reply.text, question.schema)
            except InvalidAnswerError as error:
                self.usage.invalid += 1
                problem = f"{error} (cut off at max_tokens)" if reply.finish == "length" else str(error)
                again = {"role": "user", "content": prompt("again").fill(problem=problem)}
                messages = [*question.messages(), {"role": "assistant", "content": reply.text or "-"}, again]
                logger.debug("An answer to %s does not fit: %s", name, problem)
                continue
            kept = {
                "value": value,
                "model": self.endpoint.model,
                "prompt": question.prompt.label,
                "tokens_in": reply.tokens_in,
                "tokens_out": reply.tokens_out,
            }
            await asyncio.to_thread(self._cache.put, key, kept)
            return value
        raise QuestionError(f"{name}: no valid answer in {self.endpoint.answers} tries; the last one: {problem}")

    async def _send(self, question: Question, messages: list[dict[str, Any]]) -> _Reply:
        """Sends one request until it is answered, with waits that double, and full jitter."""
        name, reason, point = question.prompt.name, "", self.endpoint
        for number in range(point.tries):
            async with self._gate:
                if self._stopped:
                    raise EndpointError(self._stopped)
                try:
                    reply = await self._request(question, messages)
                    self._unanswered = 0
                    return reply
                except _Passing as failure:
                    self.usage.failures += 1
                    reason, asked = str(failure), failure.wait
                except EndpointError as error:
                    self._stopped = str(error)
                    raise
            if asked > point.longest_wait:
                reason += f"; it asks to wait {asked:.0f} s, more than longest_wait"
                break
            if asked:
                self._limit.pause(asked)
            if number + 1 < point.tries:
                longest = min(point.longest_wait, point.first_wait * 2**number)
                await self._clock.sleep(max(asked, self._random.uniform(0, longest)))
        self._unanswered += 1
        if self._unanswered >= point.give_up_after and not self._stopped:
            self._stopped = f"{self._unanswered} questions in a row got no answer; the last one: {reason}"
            logger.error("%s is asked no more: %s", point.base_url, self._stopped)
        raise QuestionError(f"{name}: no answer in {number + 1} tries; the last one: {reason}")

    async def _request(self, question: Question, messages: list[dict[str, Any]]) -> _Reply:
        point = self.endpoint
        letters = sum(len(m["content"]) for m in messages if isinstance(m["content"], str)) + len(question.text)
        guess = letters // _LETTERS_PER_TOKEN + point.tokens_per_image * len(question.frames) + point.max_tokens
        spent = await self._limit.acquire(guess)
        self.usage.requests += 1
        failed = self._openai.APIError
        try:
            async with asyncio.timeout(point.timeout):  # the client's own one is by read, not for the whole
                made = await self._client.chat.completions.create(
                    model=point.model,
                    messages=messages,
                    response_format=question.response_format(),
                    temperature=point.temperature,
                    max_tokens=point.max_tokens,
                )
            reply = self._read(made)
        except (TimeoutError, self._openai.APITimeoutError):
            raise _Passing(f"no answer within {point.timeout:g} s") from None
        except self._openai.APIStatusError as error:
            raise self._status(error) from None
        except (failed, OSError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise _Passing(point.struck(f"{type(error).__name__}: {error}"[:300])) from None
        if reply.tokens_in + reply.tokens_out:
            spent.tokens = reply.tokens_in + reply.tokens_out
        self.usage.tokens_in += reply.tokens_in
        self.usage.tokens_out += reply.tokens_out
        self.usage.cost += (reply.tokens_in * point.price_in + reply.tokens_out * point.price_out) / 1e6
        return reply

    def _read(self, made: Any) -> _Reply:
        """The parts of a reply that are needed; what is no reply raises one of the errors that ``_request`` knows."""
        choice = made.choices[0]
        text = choice.message.content or getattr(choice.message, "refusal", None) or ""
        if not isinstance(text, str):
            raise TypeError(f"expected the answer as text, got {type(text).__name__}")
        counts = [getattr(made.usage, name, 0) for name in ("prompt_tokens", "completion_tokens")]
        tokens_in, tokens_out = (n if isinstance(n, int) and n > 0 else 0 for n in counts)
        return _Reply(self.endpoint.struck(text), tokens_in, tokens_out, str(choice.finish_reason))

    def _status(self, error: Any) -> Exception:
        status, point = error.status_code, self.endpoint
        said = point.struck(str(error))[:300]
        if status in _HOPELESS or getattr(error, "code", None) == "insufficient_quota":
            why = _HOPELESS.get(status, "nothing is left to pay with")
            return EndpointError(f"{point.base_url} with model {point.model!r}: {why} ({said}).")
        if status in _PASSING or status >= 500:
            return _Passing(f"status {status}: {said}", retry_after(error.response.headers.get("retry-after", "")))
        return QuestionError(f"status {status}: {said}")


def retry_after(value: str, now: datetime | None = None) -> float:
    """Seconds of a Retry-After header, a number or a date; 0 if it is neither.

    >>> retry_after("2.5"), retry_after("soon")
    (2.5, 0.0)
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
