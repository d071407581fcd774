"""What the service asks of the model: each request a job of the batcher, awaited by the request that asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from shift_tokenizer.rates import check_rate

from clutch_llm.errors import ConfigError, DataError
from clutch_llm.serving.batcher import Batcher
from clutch_llm.serving.guard import Refused
from clutch_llm.serving.motions import Kept, joined
from clutch_llm.serving.requests import (
    CaptionRequest,
    ChainRequest,
    CompleteRequest,
    GenerateRequest,
    Motions,
    Sampled,
    StreamRequest,
)
from clutch_llm.serving.settings import ServeConfig
from clutch_llm.windows import canonical_motion, check_motion, join_texts

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch, Motion

#: Seconds of motion of one piece of a stream, where the model itself does not give pieces.
_PIECE = 0.25

#: Seconds between two sentences of a chain, where the model itself does not lead over.
_TRANSITION = 0.4

_HANDS = ("left", "right")


class Model:
    """A `Clutch` that many may ask at once.

    Args:
        clutch: the model. Where it has them, its methods ``stream``, ``complete`` and ``chain`` are used.
        batcher: whose thread it belongs to.
        config: limits.
    """

    def __init__(self, clutch: Clutch, batcher: Batcher, config: ServeConfig) -> None:
        self.clutch, self.batcher, self.config = clutch, batcher, config
        self._stream: Callable[..., Iterator[np.ndarray]] | None = getattr(clutch, "stream", None)
        self._complete: Callable[..., list[Motion]] | None = getattr(clutch, "complete", None)
        self._chain: Callable[..., Motion] | None = getattr(clutch, "chain", None)

    @property
    def abilities(self) -> dict[str, bool]:
        """What it can: plans, frames while they are made, gaps of every kind, sentences without a seam."""
        trained = any(stage.get("tasks", {}).get("complete", 0) > 0 for stage in self.clutch.stages)
        return {
            "plans": self.clutch.config.plan,
            "streams": self._stream is not None,
            "completes": self._complete is not None and trained,
            "chains": self._chain is not None,
        }

    async def generate(self, asked: GenerateRequest) -> list[Kept]:
        """Motions for a text; those of requests with like settings are generated as one batch."""
        self._check_number(asked.samples * asked.rank)
        self._check_text(asked.text)
        how = {**_sampling(asked), "samples": asked.samples, "rank": asked.rank,
               "explain": asked.explain and self.clutch.config.plan}  # fmt: skip

        def run(items: list[tuple[str, int]]) -> list[list[Motion]]:
            texts, seeds = [text for text, _ in items], [seed for _, seed in items]
            return self.clutch.generate(texts, asked.seconds, seed=seeds, **how)

        key = ("generate", asked.seconds, tuple(how.items()))
        size = asked.samples * asked.rank
        made = await self._done(self.batcher.submit(key, run, (asked.text, asked.seed), size=size))
        return [Kept(asked.text, asked.seed, k, motion) for k, motion in enumerate(made)]

    async def stream(self, asked: StreamRequest) -> AsyncIterator[np.ndarray | Kept]:
        """Pieces of the features as they are made, at last the whole motion.

        Nothing is yielded before the request is known to be a good one.
        """
        self._check_text(asked.text)
        request = GenerateRequest(**asked.model_dump())
        if self._stream is None:
            (kept,) = await self.generate(request)
            size = max(1, round(_PIECE * self.clutch.fps))
            for start in range(0, kept.frames, size):
                yield kept.motion["features"][start : start + size]
            yield kept
            return
        pieces: list[np.ndarray] = []
        async for piece in self._pieces(asked):
            pieces.append(piece)
            yield piece
        if asked.explain and self.clutch.config.plan:
            (kept,) = await self.generate(request)  # the same motion, with its plan
        else:
            kept = Kept(asked.text, asked.seed, 0, self._motion(np.concatenate(pieces)))
        yield kept

    async def caption(self, asked: CaptionRequest, kept: Kept | None) -> dict[str, Any]:
        """The model's own words for a motion, in windows where it is longer than the model's."""
        features, valid = self._given(asked, kept)
        device, tokenizer = self.clutch.model.device, self.clutch.tokenizer

        def run(items: list[tuple[np.ndarray, np.ndarray]]) -> Sequence[Any]:
            checked = [check_motion(*item, device) for item in items]
            moved = [canonical_motion(f, v, tokenizer) for f, v in checked]
            return self.clutch.caption_windows(
                cast(Any, moved), cast(Any, [v for _, v in checked]), detailed=asked.detailed
            )

        windows = await self._done(self.batcher.submit(("caption", asked.detailed), run, (features, valid)))
        return {"text": join_texts([window["text"] for window in windows]), "windows": windows}

    async def complete(self, asked: CompleteRequest, kept: Kept | None) -> list[Kept]:
        """A motion's gaps filled; with ``keep`` of one hand, the other one is made anew."""
        complete = self._complete
        if complete is None:
            raise Refused(404, "This version of the model cannot complete motions.")
        self._check_number(asked.samples)
        if asked.text is not None:
            self._check_text(asked.text)
        features, valid = self._given(asked, kept)
        if asked.keep != "both":
            valid = valid & (np.arange(2) == _HANDS.index(asked.keep))
        text = asked.text or (kept.text if kept and asked.keep != "both" else None)

        def run(items: list[Any]) -> list[list[Motion]]:
            return [
                complete(features, text, valid=valid, seconds=asked.seconds, keep=True, samples=asked.samples,
                         seed=asked.seed, explain=self.clutch.config.plan, **_sampling(asked))
            ]  # fmt: skip

        made = await self._done(self.batcher.submit(object(), run, None, size=asked.samples))
        return [Kept(text or "", asked.seed, k, motion) for k, motion in enumerate(made)]

    async def chain(self, asked: ChainRequest) -> tuple[Kept, list[dict[str, Any]]]:
        """One motion of several sentences, and from when to when each of them is."""
        script = [(line.text, line.seconds) for line in asked.lines]
        if len(script) > self.config.max_lines:
            raise Refused(422, f"Expected at most {self.config.max_lines} lines, got {len(script)}.")
        for text, _ in script:
            self._check_text(text)
        if sum(seconds for _, seconds in script) * self.clutch.fps > self.config.max_frames:
            most = self.config.max_frames * 10 // self.clutch.fps / 10
            raise Refused(422, f"Expected at most {most:g} seconds in all.")

        def run(items: list[Any]) -> list[tuple[np.ndarray, list[int]]]:
            if self._chain is not None:
                whole = self._chain(script, seed=asked.seed, **_sampling(asked))["features"]
                stops = np.cumsum([seconds for _, seconds in script]) * self.clutch.fps
                return [(whole, [0, *np.round(stops).astype(int).tolist()])]
            made = [
                self.clutch.generate(text, seconds, seed=asked.seed, **_sampling(asked))[0][0]
                for text, seconds in script
            ]
            between = round(_TRANSITION * self.clutch.fps)
            lengths = [len(motion["features"]) + (between if k else 0) for k, motion in enumerate(made)]
            return [(joined(made, between), [0, *np.cumsum(lengths).tolist()])]

        features, stops = await self._done(self.batcher.submit(object(), run, None, size=len(script)))
        kept = Kept(", then ".join(text for text, _ in script), asked.seed, 0, self._motion(features))
        times = [
            {"text": text, "start": start / self.clutch.fps, "stop": stop / self.clutch.fps}
            for (text, _), start, stop in zip(script, stops[:-1], stops[1:], strict=True)
        ]
        return kept, times

    async def _pieces(self, asked: StreamRequest) -> AsyncIterator[np.ndarray]:
        """The pieces of the model's own stream, brought over from its thread."""
        start, loop = self._stream, asyncio.get_running_loop()
        assert start is not None
        came: asyncio.Queue[np.ndarray | Exception | None] = asyncio.Queue()

        def give(piece: np.ndarray | Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(came.put_nowait, piece)

        running = self.batcher.stream(
            lambda: start(asked.text, asked.seconds, seed=asked.seed, **_sampling(asked)), give
        )
        try:
            while True:
                async with asyncio.timeout(self.config.timeout):
                    piece = await came.get()
                if isinstance(piece, Exception):
                    raise piece
                if piece is None:
                    return
                yield piece
        finally:
            running.cancelled.set()

    def _given(self, asked: Motions, kept: Kept | None) -> tuple[np.ndarray, np.ndarray]:
        """Features (T, 198) and valid (T, 2) of a request."""
        if kept is not None:
            features = kept.motion["features"]
            return features, np.ones((len(features), 2), dtype=bool)
        assert asked.features is not None
        assert asked.fps is not None
        if len(asked.features) > self.config.max_frames:
            raise Refused(422, f"Expected at most {self.config.max_frames} frames, got {len(asked.features)}.")
        check_rate(asked.fps, self.clutch.fps)
        with np.errstate(over="ignore"):
            features = np.array(asked.features, dtype=np.float64).astype(np.float32)
        valid = np.ones((len(features), 2), dtype=bool) if asked.valid is None else np.array(asked.valid, dtype=bool)
        if np.isinf(features).any() or np.abs(np.nan_to_num(features)).max() > 1000:
            raise DataError("Expected features between -1000 and 1000: rotations, and metres.")
        return features, valid

    def _motion(self, features: np.ndarray) -> Motion:
        """Features whose tokens are not known."""
        slots = self.clutch.vocabulary.layout.n_slots
        return {"features": features, "tokens": np.empty((0, slots), dtype=np.int64), "fps": self.clutch.fps}

    def _check_number(self, number: int) -> None:
        if number > self.config.max_samples:
            raise ConfigError(f"Expected at most {self.config.max_samples} motions (samples times rank), got {number}.")

    def _check_text(self, text: str) -> None:
        if len(text) > self.config.max_text:
            raise DataError(f"Expected a text of at most {self.config.max_text} characters, got {len(text)}.")

    async def _done(self, future: Future[Any]) -> Any:
        async with asyncio.timeout(self.config.timeout):
            return await asyncio.wrap_future(future)


def _sampling(asked: Sampled) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in ("temperature", "top_k", "greedy", "guidance")}
