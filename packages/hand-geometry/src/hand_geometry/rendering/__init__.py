"""Drawing hands without a display or a GPU: a small rasteriser, a camera that frames the motion, video files.

Needs the extra ``hand-geometry[render]`` (numba, pillow, av); each is imported when it is first used.
"""

from hand_geometry.rendering.camera import Camera, frame_camera, look_at
from hand_geometry.rendering.compose import side_by_side
from hand_geometry.rendering.motion import render_motion
from hand_geometry.rendering.video import write_video

__all__ = ["Camera", "frame_camera", "look_at", "render_motion", "side_by_side", "write_video"]
