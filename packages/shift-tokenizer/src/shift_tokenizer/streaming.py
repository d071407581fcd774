"""Endless motion to tokens and back, piece by piece, with bounded memory.

Design:
- The networks look a fixed number of frames back and ahead (`border`). A piece is worked on together with that much
  of its surroundings, so its tokens and frames are those of the whole motion at once, but for the last bits of
  floating point. Beside that, only the values of the step before are kept, from which the next is predicted.
- What comes out lags behind what went in by the frames ahead (`delay`). A smaller `lookahead` lowers the delay; then
  what lies ahead is taken as not there, as at the end of a clip, and results differ from the offline ones.
- A stream that is entered in the middle agrees with the whole motion from `border` frames after the entry on; where
  steps are predicted (`ShiftConfig.prediction`), it comes closer to it with every step instead.
"""

import torch
from torch import Tensor

from .errors import ConfigError, ShapeError
from .layout import FEATURES, join_hands, split_hands
from .rates import check_rate
from .slots import check_finite, check_tokens
from .tokenizer import ShiftTokenizer


class StreamingEncoder:
    """Motion to tokens: `push` frames as they come, `finish` at the end.

    Attributes:
        border: (back, ahead), the frames that a token depends on before and after the frames that it stands for.
        delay: frames that must have come after those of a step before its tokens are given out.
    """

    _buffer: Tensor
    _start: int
    _done: int
    _last: Tensor
    _values: list[Tensor] | None

    def __init__(
        self,
        tokenizer: ShiftTokenizer,
        *,
        lookahead: int | None = None,
        chunk: int = 16,
        fps: float | None = None,
    ) -> None:
        """Starts a stream.

        Args:
            tokenizer: in eval mode.
            lookahead: frames, at most; None for as many as the result needs.
            chunk: steps that are worked on at once; more is faster and holds tokens back longer. At 1 tokens
                come as soon as they can.
            fps: frames a second of what will be pushed, which must be the tokenizer's; None where the caller knows.

        Raises:
            RateError: `fps` is another than the tokenizer's.
        """
        if fps is not None:
            check_rate(fps, tokenizer.config.fps)
        self.tokenizer, self._step, self._chunk = (
            tokenizer,
            tokenizer.config.frames_per_latent,
            _positive("chunk", chunk),
        )
        reaches = [stream.encoder.reach() for stream in tokenizer.stream_list()]
        back, ahead = -min(first for first, _ in reaches), max(last for _, last in reaches) - self._step + 1
        self.border = (back, max(0, ahead))
        self.delay = self.border[1] if lookahead is None else min(self.border[1], _at_least_0("lookahead", lookahead))
        self._reset()

    def push(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Takes frames, gives the tokens that are ready.

        Args:
            features: (t, 198), t of any size, 0 included.
            valid: (t, 2) bool; a hand that is not seen is held where it was seen last (`ShiftTokenizer.encode`
                takes the nearest frame, which may lie ahead). Before a hand is first seen, it is the mean of the
                training data. So what stands in such frames changes nothing.

        Returns:
            tokens (l, n_slots) int64, l of 0 or more.
        """
        mean = self.tokenizer.mean
        features = torch.as_tensor(features, dtype=mean.dtype, device=mean.device)
        if features.ndim != 2 or features.shape[1] != FEATURES:
            raise ShapeError(
                f"Expected features (t, {FEATURES}), got {tuple(features.shape)}. Push frames of one motion."
            )
        features = self._hold(features, valid)
        check_finite(features)
        tokens = [self._take(piece) for piece in features.split(self._chunk * self._step)]
        return torch.cat([self._nothing(), *tokens])

    def finish(self) -> Tensor:
        """Ends the motion, and gives the remaining tokens; the last frame is repeated to a whole step."""
        total = self._start + len(self._buffer)
        if total == 0:
            return self._nothing()
        missing = -total % self._step
        self._buffer = torch.cat([self._buffer, self._buffer[-1:].expand(missing, -1)])
        tokens = self._encode((total + missing) // self._step - self._done)
        self._reset()
        return tokens

    @property
    def frames_held(self) -> int:
        """Frames in memory."""
        return len(self._buffer)

    def _take(self, features: Tensor) -> Tensor:
        self._buffer = torch.cat([self._buffer, features])
        whole = (self._start + len(self._buffer)) // self._step * self._step
        ready = (whole - self.delay) // self._step - self._done
        return self._encode(ready) if ready >= self._chunk else self._nothing()

    def _encode(self, steps: int) -> Tensor:
        if steps <= 0:
            return self._nothing()
        length = len(self._buffer) // self._step * self._step
        first = self._done - self._start // self._step
        latents = self.tokenizer.latents(self._buffer[None, :length])
        tokens, values = self.tokenizer.quantize([z[:, :, first : first + steps] for z in latents], self._values)
        self._values = [value[:, :, -1] for value in values]
        self._done += steps
        needed = max(0, (self._done * self._step - self.border[0]) // self._step * self._step)
        self._buffer, self._start = self._buffer[needed - self._start :].clone(), needed
        return tokens[0]

    def _hold(self, features: Tensor, valid: Tensor | None) -> Tensor:
        if not len(features):
            return features
        hands = split_hands(features)  # (t, 2, 99)
        seen = torch.ones(hands.shape[:2], dtype=torch.bool, device=features.device)
        if valid is not None:
            seen = torch.as_tensor(valid, device=features.device).bool()
        if seen.shape != hands.shape[:2]:
            raise ShapeError(f"Expected valid {tuple(hands.shape[:2])}, got {tuple(seen.shape)}. One flag per hand.")
        frames = torch.arange(1, len(hands) + 1, device=features.device)[:, None].expand(seen.shape)
        newest = frames.masked_fill(~seen, 0).cummax(0).values  # 0: not seen in this piece so far
        held = torch.cat([self._last[None], hands]).gather(0, newest[..., None].expand_as(hands))
        self._last = held[-1].clone()
        return join_hands(held)

    def _nothing(self) -> Tensor:
        return torch.empty(0, self.tokenizer.config.n_slots, dtype=torch.int64, device=self.tokenizer.mean.device)

    def _reset(self) -> None:
        mean = self.tokenizer.mean
        self._buffer = mean.new_empty(0, FEATURES)
        self._start, self._done = 0, 0  # the first frame of the buffer, the steps that were given out
        self._last = mean * self.tokenizer.signs  # where each hand was seen last; the mean before that
        self._values = None  # of the last step that was given out


class StreamingDecoder:
    """Tokens to motion: `push` tokens as they come, `finish` at the end.

    Attributes:
        border: (back, ahead), the steps that the frames of a step depend on before and after it.
        delay: steps that must have come after one before its frames are given out.
    """

    _buffer: Tensor
    _start: int
    _done: int
    _values: list[Tensor] | None

    def __init__(self, tokenizer: ShiftTokenizer, *, lookahead: int | None = None, chunk: int = 16) -> None:
        """Starts a stream; arguments as of `StreamingEncoder`, lookahead in steps."""
        self.tokenizer, self._chunk = tokenizer, _positive("chunk", chunk)
        reaches = [stream.decoder.reach() for stream in tokenizer.stream_list()]
        self.border = (-min(first for first, _ in reaches), max(last for _, last in reaches))
        self.delay = self.border[1] if lookahead is None else min(self.border[1], _at_least_0("lookahead", lookahead))
        self._reset()

    def push(self, tokens: Tensor) -> Tensor:
        """Takes tokens (l, n_slots), gives the frames that are ready, (t, 198), t of 0 or more."""
        tokens = torch.as_tensor(tokens, device=self.tokenizer.mean.device).long()
        slots = self.tokenizer.config.n_slots
        if tokens.ndim != 2 or tokens.shape[1] != slots:
            raise ShapeError(f"Expected tokens (l, {slots}), got {tuple(tokens.shape)}. Push steps of one motion.")
        if len(tokens):
            check_tokens(tokens[None], self.tokenizer.config)
        return torch.cat([self._nothing(), *[self._take(piece) for piece in tokens.split(self._chunk)]])

    def finish(self) -> Tensor:
        """Ends the motion, and gives the remaining frames."""
        frames = self._decode(self._start + len(self._buffer) - self._done)
        self._reset()
        return frames

    @property
    def latent_steps_held(self) -> int:
        """Steps in memory."""
        return len(self._buffer)

    def _take(self, tokens: Tensor) -> Tensor:
        self._buffer = torch.cat([self._buffer, tokens])
        ready = self._start + len(self._buffer) - self.delay - self._done
        return self._decode(ready) if ready >= self._chunk else self._nothing()

    def _decode(self, steps: int) -> Tensor:
        if steps <= 0:
            return self._nothing()
        step, first = self.tokenizer.config.frames_per_latent, self._done - self._start
        values = self.tokenizer.embed(self._buffer[None], self._values)
        frames = self.tokenizer.decode_values(values)[0, first * step : (first + steps) * step]
        self._done += steps
        dropped = max(0, self._done - self.border[0]) - self._start
        if dropped:
            self._values = [value[:, :, dropped - 1] for value in values]
            self._buffer, self._start = self._buffer[dropped:].clone(), self._start + dropped
        return frames

    def _nothing(self) -> Tensor:
        return self.tokenizer.mean.new_empty(0, FEATURES)

    def _reset(self) -> None:
        device = self.tokenizer.mean.device
        self._buffer = torch.empty(0, self.tokenizer.config.n_slots, dtype=torch.int64, device=device)
        self._start, self._done = 0, 0
        self._values = None  # of the last step before the buffer


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ConfigError(f"{name}: expected at least 1, got {value}. Correct it.")
    return value


def _at_least_0(name: str, value: int) -> int:
    if value < 0:
        raise ConfigError(f"{name}: expected at least 0, got {value}. Correct it.")
    return value
