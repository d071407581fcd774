"""The subcommands that measure: fit, calibrate, metrics."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.cli_media import READABLE
from hand_geometry.errors import InputError
from hand_geometry.plain_npz import read_npy, read_npz
from hand_geometry.units import DEFAULT_FPS, fps_of

_SIDES = ("left", "right")

_FIT = """examples:
  hand-geometry fit keypoints.npz --out wave.npz
  hand-geometry fit mediapipe.npz --out wave.npz --offsets mediapipe
  hand-geometry fit mytracker.npz --out wave.npz --offsets mytracker.npy

The .npz holds 'left' and/or 'right' (T, 21, 3): keypoints in metres, wrist first, then thumb to little finger; NaN
where there is none. With 'left_2d', 'right_2d' (T, 21, 2) in pixels and 'camera' (3, 3) the image is fitted as well,
or alone. 'fps' is 15 if it is missing. A tracker's image landmarks with depths (T, 21, 3), in pixels, need no other
keypoints, but its table: '--offsets mediapipe' (x and z times the image's width, y times its height), or an .npz of
'calibrate'.
"""

_CALIBRATE = """example:
  hand-geometry calibrate tracked.npz known.npz --out mytracker.npy
  hand-geometry fit tracked.npz --out fitted.npz --offsets mytracker.npy
  hand-geometry calibrate deep.npz known.npz --out mytracker.npz

Trackers put their landmarks beside the joints (MediaPipe's wrist lies 18 mm out). Show the tracker a motion that you
know, drawn by 'hand-geometry render' for one, and give what it found, in the form that 'fit' reads, and the motion.
An .npy holds the offsets. An .npz also holds the mean and covariance of the tracker's errors, learned from image
landmarks with depths (T, 21, 3); a thousand frames are plenty.
"""


def add_fit_commands(commands: Any) -> None:
    """Add fit, calibrate and metrics to the subcommands of a parser."""

    def add(name: str, what: str, epilog: str | None = None) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        return parser

    fit = add("fit", "fit MANO parameters to 21 keypoints a hand", _FIT)
    fit.add_argument("keypoints", help="keypoints .npz, see below")
    fit.add_argument("--out", required=True, help="motion to write: .npz, or any format of export")
    fit.add_argument(
        "--offsets", help="where the landmarks sit: 'mediapipe', or a file of 'calibrate' (default: joints)"
    )
    fit.add_argument("--mediapipe", action="store_const", const="mediapipe", dest="offsets", help="--offsets mediapipe")
    fit.set_defaults(run=_fit)

    calibrate = add("calibrate", "learn where a tracker's landmarks sit on the hand", _CALIBRATE)
    calibrate.add_argument("tracked", help="what the tracker found, .npz as for fit")
    calibrate.add_argument("known", help=f"the motion that it was shown, in the camera's frame; {READABLE}")
    calibrate.add_argument(
        "--out", required=True, help="to write: offsets .npy, (21, 3) metres, of the right hand; or a table .npz"
    )
    calibrate.set_defaults(run=_calibrate)

    metrics = add("metrics", "compare a motion with the true one, or judge it alone")
    metrics.add_argument("motion", help=READABLE)
    metrics.add_argument(
        "truth", nargs="?", help="the true motion; its 'valid' says what counts, and to its rate the other is resampled"
    )
    metrics.set_defaults(run=_metrics)


def _fit(arguments: argparse.Namespace) -> None:
    from hand_geometry.exporting import export_motion
    from hand_geometry.fitting import fit_keypoints
    from hand_geometry.poses import relaxed_hand

    arrays = _tracked(arguments.keypoints)
    frames = len(next(arrays[name] for side in _SIDES for name in (side, f"{side}_2d") if name in arrays))
    params: dict[str, list[np.ndarray]] = {"global_orient": [], "hand_pose": [], "transl": []}
    valid = np.zeros((frames, 2), np.bool_)
    for hand, side in enumerate(_SIDES):
        given = _seen(arrays, side)
        if given is None:
            rest = relaxed_hand(side)
            for name, values in params.items():
                values.append(np.repeat(rest[name].numpy()[None], frames, 0))
            continue
        fit = fit_keypoints(side=side, landmark_offsets=_offsets(arguments.offsets, side), **given)
        for name, values in params.items():
            values.append(getattr(fit, name))
        valid[:, hand] = fit.valid
        found = [f"{side}: {fit.valid.sum()} of {frames} frames"]
        if "keypoints" in given:
            found.append(f"residual {np.nanmean(fit.residual) * 1e3:.1f} mm")
        if fit.reprojection is not None:
            found.append(f"reprojection {np.nanmean(fit.reprojection):.1f} px")
        print(", ".join(found))
    stacked = {name: np.stack(values, 1) for name, values in params.items()}
    export_motion(arguments.out, stacked, fps=_rate(arguments.keypoints, arrays), valid=valid)


def _calibrate(arguments: argparse.Namespace) -> None:
    from hand_geometry.atomic import write_npy
    from hand_geometry.exporting import import_motion
    from hand_geometry.fitting import KnownMotion, calibrate_landmarks, calibrate_table

    arrays, known = _tracked(arguments.tracked), import_motion(arguments.known)
    motions = []
    for hand, side in enumerate(_SIDES):
        given = _seen(arrays, side)
        if given is not None:
            hidden = ~known["valid"][:, hand]  # what stands there is no truth to learn from
            for name in given.keys() & {"keypoints", "keypoints_2d"}:
                if len(given[name]) == len(hidden):
                    given[name] = np.where(hidden[:, None, None], np.nan, given[name])
            truth = {name: known[name][:, hand] for name in ("global_orient", "hand_pose", "transl")}
            motions.append(KnownMotion(side, **truth, **given, betas=known["betas"][hand]))
    if Path(arguments.out).suffix == ".npz":
        table = calibrate_table(motions)
        table.save(arguments.out)
        offsets = table.offsets
    else:
        offsets = calibrate_landmarks(motions)
        write_npy(arguments.out, offsets.astype(np.float32))
    lengths = np.linalg.norm(offsets, axis=1) * 1e3
    print(f"{arguments.out}: wrist {lengths[0]:.1f} mm, fingers {lengths[1:].mean():.1f} mm on average")


def _metrics(arguments: argparse.Namespace) -> None:
    import torch

    from hand_geometry import metrics
    from hand_geometry.exporting import import_motion
    from hand_geometry.pair import HandPair
    from hand_geometry.plausibility import hand_penetration, limit_violation, self_penetration

    motions = [import_motion(path) for path in (arguments.motion, arguments.truth) if path]
    if len(motions) == 2:
        motions = _together(*motions)
    pair = HandPair.load()
    posed = [
        pair(*(torch.tensor(motion[name]) for name in ("global_orient", "hand_pose", "betas", "transl")))
        for motion in motions
    ]
    joints, valid = [out.joints for out in posed], motions[-1]["valid"]
    if len(motions) == 2:
        (a, b), (mesh_a, mesh_b), fps = joints, [out.vertices for out in posed], motions[1]["fps"]
        wrists = (a[..., 0, :], b[..., 0, :])
        print(f"MPJPE, absolute       {metrics.mpjpe(a, b, valid) * 1e3:8.2f} mm")
        print(f"MPJPE, root-aligned   {metrics.mpjpe(a, b, valid, align='root') * 1e3:8.2f} mm")
        print(f"PA-MPJPE              {metrics.pa_mpjpe(a, b, valid) * 1e3:8.2f} mm")
        print(f"MPVPE, root-aligned   {metrics.mpvpe(mesh_a, mesh_b, valid, roots=wrists) * 1e3:8.2f} mm")
        print(f"PA-MPVPE              {metrics.pa_mpvpe(mesh_a, mesh_b, valid) * 1e3:8.2f} mm")
        print(f"acceleration error    {metrics.acceleration_error(a, b, valid, fps):8.2f} m/s^2")
    for name, motion, points in zip(("", " of the truth"), motions, joints, strict=False):
        seen = motion["valid"] if len(motions) == 1 else valid
        limits = limit_violation(motion["hand_pose"], seen)
        beyond = f"{limits.share:.2%} of the angles, {limits.excess.rad2deg():.2f} degrees on average"
        itself, other = self_penetration(points, seen) * 1e3, hand_penetration(points, seen) * 1e3
        print(f"jitter{name}: {metrics.jitter(points, seen, motion['fps']):.2f} m/s^3")
        print(f"beyond joint limits{name}: {beyond}")
        print(f"penetration{name}: itself {itself:.2f} mm, other hand {other:.2f} mm")


def _together(motion: dict[str, Any], truth: dict[str, Any]) -> list[dict[str, Any]]:
    """The motion at the truth's rate, and both over the frames that they share."""
    from hand_geometry.features import PARAMETERS, resample_params

    if motion["fps"] != truth["fps"]:
        print(f"resampled from {motion['fps']:g} to the truth's {truth['fps']:g} frames per second")
        motion = resample_params(motion, motion["fps"], truth["fps"])
    lengths = [len(one["transl"]) for one in (motion, truth)]
    if lengths[0] != lengths[1]:
        print(f"compared over {min(lengths)} frames, which both have ({lengths[0]} and {lengths[1]})")
    names = (*PARAMETERS, "valid")
    return [one | {name: one[name][: min(lengths)] for name in names} for one in (motion, truth)]


def _rate(path: str, arrays: dict[str, Any]) -> float:
    if "fps" not in arrays:
        print(f"{path}: holds no fps; taken as {DEFAULT_FPS:g} frames per second (store 'fps' to change it)")
        return DEFAULT_FPS
    try:
        return fps_of(arrays["fps"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _tracked(path: str) -> dict[str, Any]:
    """The arrays of a keypoints file."""
    if not Path(path).is_file():
        raise InputError(f"{path}: Expected a file of keypoints, got no such file. Check the path.")
    try:
        arrays = read_npz(path)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path}: Expected an .npz of plain arrays, got a file that cannot be read ({error})."
        ) from error
    if not any(name in arrays for side in _SIDES for name in (side, f"{side}_2d")):
        raise InputError(f"{path}: Expected 'left', 'right', 'left_2d' or 'right_2d', got {sorted(arrays)}.")
    return arrays


def _seen(arrays: dict[str, Any], side: str) -> dict[str, Any] | None:
    """What was seen of one hand, as ``fit_keypoints`` takes it, or None."""
    from hand_geometry.fitting.observed import hands_in

    names = {"keypoints": side, "keypoints_2d": f"{side}_2d"}
    given: dict[str, Any] = {name: arrays[stored] for name, stored in names.items() if stored in arrays}
    seen = any(hands_in(name, value).any() for name, value in given.items())
    if "keypoints_2d" in given:
        given["camera"] = arrays.get("camera")
    return given if seen else None


def _offsets(name: str | None, side: str) -> Any:
    if name is None or name == "mediapipe":
        return name
    if Path(name).suffix == ".npz":
        from hand_geometry.fitting import LandmarkTable

        return LandmarkTable.load(name)
    try:
        table = read_npy(name)
    except (OSError, ValueError) as error:
        raise InputError(f"--offsets: Expected 'mediapipe' or a file of calibrate, got {name!r} ({error}).") from error
    return table if side == "right" else table * [-1.0, 1.0, 1.0]
