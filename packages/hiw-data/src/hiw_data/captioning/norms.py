"""What is slow, fast, small and large for an action: measured norms of the scripted source's families.

"Slowly" and "large" are relative to what is done: a slow clap is faster than a fast pour. The scripted source draws its
classes relative to each family, so they cannot be told from one clip without knowing the family's usual rate and
reach. `norms.json` holds the borders of the classes as measured by ``calibrate`` on clips of a seed of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from hand_geometry.codes import Norm

CALIBRATION_SEED, CALIBRATION_CLIPS = 1000, 10800
"""The clips that the norms were measured on; figures are reported on other seeds."""


@lru_cache(maxsize=1)
def load_norms() -> Mapping[str, Norm]:
    """Norms by action: "family/direction" and, over all directions, "family"."""
    data = json.loads((resources.files("hiw_data.captioning") / "norms.json").read_text("utf-8"))
    return {name: Norm(*values) for name, values in data.items()}
