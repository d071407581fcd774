"""From pictures to two hands: trackers, a second look, identity over time, gaps, cameras, fit."""

from hiw_data.frames import Frame
from hiw_data.tracking.base import Tracker
from hiw_data.tracking.camera import CameraModel
from hiw_data.tracking.detections import Detection, Detections
from hiw_data.tracking.fit import FittedHands, fit_hands
from hiw_data.tracking.gaps import EvenHands, even_hands
from hiw_data.tracking.identity import IdentityConfig, TwoHands, two_hands
from hiw_data.tracking.mediapipe_tracker import MediaPipeTracker
from hiw_data.tracking.result_files import ResultTracker
from hiw_data.tracking.second_look import SecondLookConfig, second_look

__all__ = [
    "CameraModel",
    "Detection",
    "Detections",
    "EvenHands",
    "FittedHands",
    "Frame",
    "IdentityConfig",
    "MediaPipeTracker",
    "ResultTracker",
    "SecondLookConfig",
    "Tracker",
    "TwoHands",
    "even_hands",
    "fit_hands",
    "second_look",
    "two_hands",
]
