"""MediaPipe's hand landmarker as a tracker, on the CPU, with a second look at what it misses.

Needs the extra `tracking` (mediapipe 0.10.21 or later) and its model file, see `mediapipe_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiw_data.errors import ClipError, OptionError, SourceError
from hiw_data.frames import Frame
from hiw_data.tracking.detections import Detection, Detections
from hiw_data.tracking.mediapipe_model import hand_model
from hiw_data.tracking.second_look import second_look

_CHUNK = 64
"""Frames that are kept for the second look: 180 MB at 1280 x 720."""
_STEADY, _SEARCH_EVERY = 5, 8
"""After so many pictures with the same number of hands, more are looked for in every so-manieth alone."""


class MediaPipeTracker:
    """Finds hands with MediaPipe.

    Args:
        model: the `.task` file; None for the one in the cache, which is made if need be.
        max_hands: hands in a picture at most; more than two are counted, and the two most seen are kept.
        confidence: of the detector in the whole picture, 0 to 1.
        second_look: whether to look again, closer, where a hand is lost.
        second_confidence: of the detector in a closer look.

    Raises:
        OptionError: an option out of range.
        SourceError: mediapipe or its model is missing.
    """

    name = "mediapipe"

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        max_hands: int = 4,
        confidence: float = 0.5,
        second_look: bool = True,
        second_confidence: float = 0.2,
    ) -> None:
        if max_hands < 1 or not 0 < confidence < 1 or not 0 < second_confidence < 1:
            raise OptionError(
                f"Expected max_hands >= 1 and confidences between 0 and 1, got {max_hands}, {confidence} and "
                f"{second_confidence}."
            )
        try:
            import mediapipe  # noqa: F401
        except ImportError as error:
            raise SourceError(
                "Expected the package mediapipe for tracking, got none. Run pip install 'hiw-data[tracking]'."
            ) from error
        self.version = version("mediapipe")
        self.max_hands, self.confidence = max_hands, confidence
        self.second_look, self.second_confidence = second_look, second_confidence
        self._model = hand_model(model)

    @property
    def options(self) -> dict[str, object]:
        """What the results depend on besides the video."""
        names = ("max_hands", "confidence", "second_look", "second_confidence")
        return {name: getattr(self, name) for name in names}

    def track(self, frames: Iterable[Frame]) -> Detections:
        """Hands of one video, or of a part of it; see `Tracker`."""
        times: list[float] = []
        found: list[Sequence[Detection]] = []
        size = (0, 0)
        with ExitStack() as stack:
            watch = _Watch(
                lambda n: stack.enter_context(self._landmarker(n, self.confidence, video=True)), self.max_hands
            )
            closer = stack.enter_context(self._landmarker(2, self.second_confidence, video=False))

            def look(image: NDArray[np.uint8]) -> list[Detection]:
                return _detections(closer.detect(_picture(image)), image)

            last = -1
            for chunk in _chunks(frames, _CHUNK):
                hands: list[Sequence[Detection]] = []
                for frame in chunk:
                    last = max(last + 1, round(1000 * frame.time))  # milliseconds, and it wants them to increase
                    hands.append(watch.hands(frame.image, last))
                size = (chunk[0].image.shape[1], chunk[0].image.shape[0])
                found += second_look(chunk, hands, look) if self.second_look else hands
                times += [frame.time for frame in chunk]
        if not times:
            raise ClipError("Expected a video with pictures in it, got none.")
        return Detections(np.array(times), tuple(tuple(row) for row in found), *size)

    def _landmarker(self, hands: int, confidence: float, *, video: bool) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
        options = vision.HandLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._model)),
            running_mode=mode,
            num_hands=hands,
            min_hand_detection_confidence=confidence,
            min_hand_presence_confidence=confidence,
            min_tracking_confidence=confidence,
        )
        return vision.HandLandmarker.create_from_options(options)


class _Watch:
    """Looks for as many hands as there may be only now and then, while the same number is seen.

    Searching the whole picture costs more than following the hands that were found; but the tracker searches in every
    frame that has fewer hands than it was told to find.

    Args:
        make: a tracker for so many hands, to be called with pictures in order.
        most: hands at most.
    """

    def __init__(self, make: Callable[[int], Any], most: int) -> None:
        self._make, self._most = make, most
        self._trackers: dict[int, Any] = {}
        self._same = self._count = self._since = 0

    def hands(self, image: NDArray[np.uint8], milliseconds: int) -> list[Detection]:
        """Hands of the next picture."""
        picture = _picture(image)
        steady = self._same >= _STEADY and 0 < self._count < self._most
        self._since += 1
        if steady and self._since < _SEARCH_EVERY:
            found = _detections(self._tracker(self._count).detect_for_video(picture, milliseconds), image)
            if len(found) == self._count:
                return found
        self._since = 0
        found = _detections(self._tracker(self._most).detect_for_video(picture, milliseconds), image)
        self._same = self._same + 1 if len(found) == self._count else 0
        self._count = len(found)
        return found

    def _tracker(self, hands: int) -> Any:
        if hands not in self._trackers:
            self._trackers[hands] = self._make(hands)
        return self._trackers[hands]


def _chunks(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    rest = iter(frames)
    while chunk := list(islice(rest, size)):
        yield chunk


def _picture(image: NDArray[np.uint8]) -> Any:
    from mediapipe import Image, ImageFormat

    return Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(image))


def _detections(result: Any, image: NDArray[np.uint8]) -> list[Detection]:
    height, width = image.shape[:2]
    hands = []
    for kinds, points in zip(result.handedness, result.hand_landmarks, strict=True):
        landmarks = np.array([[p.x * width, p.y * height, p.z * width] for p in points])
        hands.append(Detection(int(kinds[0].category_name == "Right"), float(kinds[0].score), landmarks))
    return hands
