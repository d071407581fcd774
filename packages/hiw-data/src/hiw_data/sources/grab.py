"""GRAB: whole-body grasps of objects, of which the hands' own MANO parameters are read.

Rules: F+ (the hands; the body's hand poses are another matter), C1 with the J0 of the subject's own template mesh.
There are no betas: the template is a scan. `fullpose` is preferred to the 24 PCA coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording, Narration
from hiw_data.sources.mano_rules import from_pca, wrist_of_transl
from hiw_data.sources.plain_files import numbers, read_npz_objects
from hiw_data.sources.ply import read_vertices

SPLITS = {
    "test": ("mug", "wineglass", "camera", "binoculars", "fryingpan", "toothpaste"),
    "val": ("apple", "toothbrush", "elephant", "hand"),
}
"""By object, as the authors split it."""


def read_grab(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequence in one .npz."""
    stored = read_npz_objects(path)
    frames, fps = int(stored["n_frames"]), float(stored["framerate"])
    thing, intent = str(stored["obj_name"]), str(stored["motion_intent"])
    notes, templates = [], {}
    recording = HandRecording.empty(
        context.stem(path),
        fps,
        frames,
        group=f"object {thing}",
        split=next((split for split, things in SPLITS.items() if thing in things), "train"),
        narrations=(Narration(f"{intent} {thing}", "grab file name", label=True),),
    )
    for side, key in enumerate(("lhand", "rhand")):
        hand = stored[key]
        params = hand["params"]
        if "fullpose" in params:
            pose = numbers(params["fullpose"], frames, 45).reshape(frames, 15, 3)
        else:
            pose = from_pca(numbers(params["hand_pose"], frames, None), context.hands()[side].hands_components)
        rest = _template_wrist(hand, side, context)
        if rest is None:
            notes.append("the subject's template mesh is not there, so wrists are those of the mean shape")
            rest = context.hands().rest_wrist(side)
        else:
            templates[f"template_{('left', 'right')[side]}"] = str(hand["vtemp"])
        wrist = wrist_of_transl(numbers(params["transl"], frames, 3), rest)
        recording.put(side, numbers(params["global_orient"], frames, 3), pose, wrist, np.ones(frames, bool))
    recording.attributes.update(subject=str(stored["sbj_id"]), object=thing, intent=intent, **templates)
    yield recording.with_notes(tuple(dict.fromkeys(notes)))


def _template_wrist(hand: Any, side: int, context: Context) -> np.ndarray | None:
    """J0 of the subject's mesh, if it is there: the path within the dataset, or within the folder above it."""
    name = str(hand.get("vtemp", ""))
    for root in (context.folder, context.folder.parent):
        path = (root / name).resolve()
        if name and path.is_relative_to(root.resolve()) and path.is_file():
            regressor = context.hands()[side].joint_regressor[0]
            vertices = read_vertices(path)
            if len(vertices) != len(regressor):
                raise ValueError(f"a template of {len(vertices)} vertices for a hand of {len(regressor)}")
            return np.asarray(regressor @ vertices)
    return None


GRAB = Dataset(
    name="grab",
    title="GRAB",
    find=lambda folder: sorted(p for p in folder.rglob("*.npz") if p.parent.name[:1] == "s"),
    read=read_grab,
    needs="grab/s1...s10/<object>_<action>_<n>.npz, and tools/subject_meshes beside grab/",
    licence="MPI non-commercial licence, no redistribution",
    hands="MANO of a scanned template, mocap world, 120 fps",
    mano="needed",
    rules="F+ C1, J0 of the template",
    met=LAYOUT_ONLY,
    certainty="medium",
    limits="The hands' shape is a template mesh that no betas describe.",
)
