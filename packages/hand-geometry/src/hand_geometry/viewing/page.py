"""The viewer's page: three.js, the player and the motions in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.atomic import write_bytes
from hand_geometry.errors import InputError
from hand_geometry.exporting.gltf import gltf_bytes
from hand_geometry.exporting.rig import build_clip


def viewer_page(
    motions: Sequence[Any],
    titles: Sequence[str] | None = None,
    *,
    model: str | os.PathLike[str] = "default",
    forearms: bool = True,
) -> str:
    """A page that plays motions side by side, with play, scrub, speed and views.

    Args:
        motions: Parameters or features of T frames each, see ``build_clip``; dicts of ``load_motion`` as they are.
            A clip in which no hand was ever seen is shown as it is, since to look at it is to find out why.
        titles: One for each; None takes the first captions, or numbers.
        model: "default", a MANO file or a folder of both sides.
        forearms: Whether to draw forearms that fade out.

    Returns:
        HTML; about 1 MB and 70 KB a hundred frames.

    Raises:
        InputError: If there is no motion, one has no frames or numbers that are not finite, or titles do not match.
        ShapeError: If a shape does not fit.
    """
    if not motions:
        raise InputError("motions: Expected at least one, got none. Pass what to show.")
    if titles is not None and len(titles) != len(motions):
        raise InputError(f"titles: Expected {len(motions)}, got {len(titles)}. One for each motion.")
    entries = []
    for k, motion in enumerate(motions):
        clip = build_clip(motion, model=model, **_shown(motion))
        caption = clip.captions[0] if clip.captions else ""
        title = titles[k] if titles else caption or f"motion {k + 1}"
        entries.append({
            "title": title,
            "caption": caption if title != caption else "",
            "glb": base64.b64encode(gltf_bytes(clip, forearms=forearms)).decode(),
        })  # fmt: skip
    heading = html.escape(" · ".join(entry["title"] for entry in entries))
    page = _asset("viewer.html")
    parts = {
        "title": heading,
        "style": _asset("viewer.css"),
        "motions": json.dumps(entries).replace("<", "\\u003c"),
        "three": _asset("three.min.js"),
        "viewer": _asset("viewer.js"),
    }
    pieces = page.split("@")
    return "".join(parts.get(piece, piece) for piece in pieces)


def write_html(
    path: str | os.PathLike[str],
    motions: Sequence[Any],
    titles: Sequence[str] | None = None,
    *,
    model: str | os.PathLike[str] = "default",
    forearms: bool = True,
) -> Path:
    """Write the viewer's page to a file that can be sent to somebody: it works offline, opened from anywhere.

    Args:
        path: Ends in .html. Missing folders are made.
        motions: See ``viewer_page``.
        titles: See ``viewer_page``.
        model: See ``viewer_page``.
        forearms: See ``viewer_page``.

    Returns:
        The path.

    Raises:
        InputError: As ``viewer_page``, or if the suffix is another.
        ShapeError: If a shape does not fit.
    """
    page = viewer_page(motions, titles, model=model, forearms=forearms)
    return write_bytes(path, page.encode(), ".html")


def _shown(motion: Any) -> dict[str, Any]:
    """A flag for each frame and hand if none was ever seen, so that there is something to look at."""
    valid = motion.get("valid") if isinstance(motion, dict) else None
    return {} if valid is None or np.asarray(valid).any() else {"valid": np.ones(np.shape(valid), np.bool_)}


def _asset(name: str) -> str:
    return resources.files("hand_geometry.viewing").joinpath("assets", name).read_text(encoding="utf-8")
