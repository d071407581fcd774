"""The conditions under which the closed loop is run: each changes one thing of the plain scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hiw_data.calibration.looks import DARK_SKIN, LIGHT_SKIN, Look
from hiw_data.calibration.scenes import Scene
from hiw_data.errors import OptionError

PLAIN = Scene("plain")

CONDITIONS: tuple[Scene, ...] = (
    PLAIN,
    replace(PLAIN, name="light skin", look=Look(skin=LIGHT_SKIN)),
    replace(PLAIN, name="dark skin", look=Look(skin=DARK_SKIN)),
    replace(PLAIN, name="desk", look=Look(background="desk")),
    replace(PLAIN, name="clutter", look=Look(background="clutter")),
    replace(PLAIN, name="dim, noisy", look=Look(exposure=0.3, noise=10)),
    replace(PLAIN, name="too bright", look=Look(exposure=1.6)),
    replace(PLAIN, name="coloured, uneven light", look=Look(tint=(1.1, 0.9, 0.65), uneven=0.5)),
    replace(PLAIN, name="no forearms", forearms=False),
    replace(PLAIN, name="tilted camera", roll=25.0),
    replace(PLAIN, name="wide angle, edge", fov=105.0, pitch=25.0),
    replace(PLAIN, name="far away", back=0.4),
    replace(PLAIN, name="small picture", size=(320, 240)),
    replace(PLAIN, name="large picture", size=(1280, 960)),
    replace(PLAIN, name="fast", speed=2.5),
    replace(PLAIN, name="palms", palms=True),
)


def chosen(names: Sequence[str] | None) -> tuple[Scene, ...]:
    """Conditions by name; None for all.

    Raises:
        OptionError: an unknown name.
    """
    if names is None:
        return CONDITIONS
    known = {scene.name: scene for scene in CONDITIONS}
    missing = [name for name in names if name not in known]
    if missing:
        raise OptionError(f"Expected conditions of {', '.join(known)}; got {', '.join(map(repr, missing))}.")
    return tuple(known[name] for name in names)
