"""What a drawn scene looks like: skin, background, light and noise of the camera.

The direction of the light is the renderer's and does not change; its strength, colour and evenness do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hiw_data.errors import OptionError

Colour = tuple[float, float, float]

LIGHT_SKIN: Colour = (0.94, 0.78, 0.69)
MEDIUM_SKIN: Colour = (0.80, 0.55, 0.43)
DARK_SKIN: Colour = (0.36, 0.23, 0.17)

BACKGROUNDS = ("plain", "desk", "clutter")


@dataclass(frozen=True)
class Look:
    """How a scene looks.

    Attributes:
        skin: its albedo, sRGB, 0..1.
        background: "plain", "desk" (streaks, as of wood) or "clutter" (boxes of all colours).
        paper: colour of the plain background, 0..1.
        exposure: factor of all brightness, over 0 to 4; what is too bright is cut off.
        tint: factors of red, green and blue.
        uneven: the left edge of the picture is darker, the right one brighter by this share, 0..1.
        noise: deviation of the camera's noise, of 255.
    """

    skin: Colour = MEDIUM_SKIN
    background: str = "plain"
    paper: Colour = (0.45, 0.42, 0.40)
    exposure: float = 1.0
    tint: Colour = (1.0, 1.0, 1.0)
    uneven: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.exposure <= 4 or not 0 <= self.uneven <= 1 or not 0 <= self.noise <= 100:
            raise OptionError(
                "Expected an exposure over 0 up to 4, unevenness of 0 to 1 and noise of 0 to 100, got "
                f"{self.exposure}, {self.uneven} and {self.noise}."
            )


def backdrop(look: Look, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """A background picture (height, width, 3), 0 to 255, of a look that has one."""
    width, height = size
    if look.background == "desk":
        fine = gaussian_filter(rng.normal(size=(height, width)), (height / 240, width / 12))
        broad = gaussian_filter(rng.normal(size=(height, width)), (height / 30, width / 3))
        grain = 0.6 * fine / fine.std() + 0.4 * broad / broad.std()
        wood = np.array([0.52, 0.38, 0.26]) * (1 + 0.16 * grain[..., None])
        return np.asarray(255 * np.clip(wood, 0, 1), np.float32)
    picture = np.tile(np.array([0.55, 0.53, 0.50]), (height, width, 1))
    for _ in range(60):
        x, y = rng.uniform(-0.1, 1.0, 2)
        wide, high = rng.uniform(0.04, 0.3, 2)
        rows = slice(max(0, round(y * height)), max(0, round((y + high) * height)))
        columns = slice(max(0, round(x * width)), max(0, round((x + wide) * width)))
        picture[rows, columns] = rng.uniform(0.05, 0.95, 3)
    soft = gaussian_filter(picture, (height / 300, width / 400, 0))
    return np.asarray(255 * soft, np.float32)


def lit(frames: NDArray[np.uint8], look: Look, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Pictures (T, height, width, 3) under a look's light, with its noise."""
    if look.exposure == 1 and look.tint == (1.0, 1.0, 1.0) and look.uneven == 0 and look.noise == 0:
        return frames
    across = np.linspace(1 - look.uneven, 1 + look.uneven, frames.shape[2], dtype=np.float32)
    gain = look.exposure * across[:, None] * np.array(look.tint, np.float32)
    out = np.empty_like(frames)
    for t, frame in enumerate(frames):
        bright = frame * gain
        if look.noise:
            bright = bright + look.noise * rng.standard_normal(frame.shape, np.float32)
        out[t] = np.clip(bright, 0, 255).astype(np.uint8)
    return out
