"""The command ``hand-geometry``: look at, fit, draw, compare and convert hand motions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.errors import HandGeometryError, InputError

_EXAMPLES = """examples:
  hand-geometry info                                    the hand that ships with the package
  hand-geometry info wave.npz                           frames, seconds, captions of a motion
  hand-geometry fit keypoints.npz --out wave.npz        21 keypoints a hand -> MANO parameters
  hand-geometry render wave.npz --out wave.mp4          also .gif, .webp, .png (film strip)
  hand-geometry render a.npz b.npz --titles truth model --out both.gif
  hand-geometry metrics model.npz truth.npz             MPJPE, MPVPE, PA, acceleration, plausibility
  hand-geometry metrics model.npz                       jitter, joint limits, penetration
  hand-geometry export wave.npz --out features.npz --layout features
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments; None for those of the process.

    Returns:
        0, or 2 after an error that was explained on stderr.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (HandGeometryError, OSError) as error:
        print(f"hand-geometry: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hand-geometry",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    info = commands.add_parser("info", help="describe the hand model or a motion file")
    info.add_argument("motion", nargs="?", help="a motion .npz; none describes the default hand")
    info.set_defaults(run=_info)

    fit = commands.add_parser("fit", help="fit MANO parameters to 21 keypoints a hand")
    fit.add_argument(
        "keypoints", help=".npz with 'left' and/or 'right' (T, 21, 3) in metres, NaN where not seen, 'fps'"
    )
    fit.add_argument("--out", required=True, help="motion .npz to write")
    fit.add_argument("--mediapipe", action="store_true", help="the landmarks are MediaPipe's: use its offset table")
    fit.set_defaults(run=_fit)

    render = commands.add_parser("render", help="draw one or several motions")
    render.add_argument("motions", nargs="+", help="motion .npz files; several are drawn side by side")
    render.add_argument("--out", required=True, help=".mp4, .gif, .webp or .png (film strip)")
    render.add_argument("--size", default="480x360", help="width x height of each (default: %(default)s)")
    render.add_argument("--view", default="egocentric", help="egocentric, three-quarter, front or above")
    render.add_argument("--titles", nargs="+", help="one for each motion (default: their captions)")
    render.set_defaults(run=_render)

    metrics = commands.add_parser("metrics", help="compare a motion with the true one, or judge it alone")
    metrics.add_argument("motion", help="motion .npz")
    metrics.add_argument("truth", nargs="?", help="the true motion; its 'valid' says what counts")
    metrics.set_defaults(run=_metrics)

    export = commands.add_parser("export", help="convert between parameters and features")
    export.add_argument("motion", help=".npz with parameters or with 'features' (T, 198)")
    export.add_argument("--out", required=True, help=".npz to write")
    export.add_argument("--layout", choices=("params", "features"), default="params")
    export.set_defaults(run=_export)
    return parser


def _info(arguments: argparse.Namespace) -> None:
    if arguments.motion is None:
        from hand_geometry.assets import load_asset

        asset = load_asset("default", "right")
        print(f"default hand: {len(asset.v_template)} vertices, {len(asset.faces)} triangles, 16 joints, 5 tips")
        print(f"shape components: {asset.shapedirs.shape[-1]}\nsource: {asset.source}")
        return
    from hand_geometry.motion_io import load_motion

    motion = load_motion(arguments.motion)
    frames, fps = len(motion["transl"]), motion["fps"]
    left, right = motion["valid"].mean(0)
    print(f"{arguments.motion}: {frames} frames at {fps:g} fps = {frames / fps:.2f} s")
    print(f"seen: left {left:.0%}, right {right:.0%} of the frames")
    for caption in motion["captions"]:
        print(f"caption: {caption}")


def _fit(arguments: argparse.Namespace) -> None:
    from hand_geometry.fitting import fit_keypoints
    from hand_geometry.motion_io import save_motion
    from hand_geometry.poses import relaxed_hand

    arrays = _read_arrays(arguments.keypoints)
    sides = [side for side in ("left", "right") if side in arrays]
    if not sides:
        raise InputError(f"{arguments.keypoints}: Expected the array 'left' or 'right', got {sorted(arrays)}.")
    frames = len(arrays[sides[0]])
    params: dict[str, list[np.ndarray]] = {"global_orient": [], "hand_pose": [], "transl": []}
    valid = np.zeros((frames, 2), np.bool_)
    for hand, side in enumerate(("left", "right")):
        if side not in sides:
            rest = relaxed_hand(side)
            for name, values in params.items():
                values.append(np.repeat(rest[name].numpy()[None], frames, 0))
            continue
        offsets = "mediapipe" if arguments.mediapipe else None
        fit = fit_keypoints(arrays[side], side=side, landmark_offsets=offsets)
        for name, values in params.items():
            values.append(getattr(fit, name))
        valid[:, hand] = fit.valid
        print(f"{side}: {fit.valid.sum()} of {frames} frames, residual {np.nanmean(fit.residual) * 1e3:.1f} mm")
    stacked = {name: np.stack(values, 1) for name, values in params.items()}
    save_motion(arguments.out, stacked, fps=float(arrays.get("fps", 15.0)), valid=valid)


def _render(arguments: argparse.Namespace) -> None:
    from hand_geometry.features import params_to_features
    from hand_geometry.kinematics import features_to_joints
    from hand_geometry.motion_io import load_motion
    from hand_geometry.rendering import frame_camera, render_motion, side_by_side, write_video

    motions = [load_motion(path) for path in arguments.motions]
    size = _size(arguments.size)
    joints = [features_to_joints(params_to_features(m))[m["valid"]] for m in motions]
    camera = frame_camera(joints, size, view=arguments.view)
    videos = [render_motion(m, fps=m["fps"], size=size, valid=m["valid"], camera=camera) for m in motions]
    titles = arguments.titles
    if titles is None and any(m["captions"] for m in motions):
        titles = [(m["captions"] or [""])[0] for m in motions]
    frames = videos[0] if len(videos) == 1 and not titles else side_by_side(videos, titles)
    write_video(arguments.out, frames, motions[0]["fps"])
    print(f"{arguments.out}: {len(frames)} frames, {frames.shape[2]} x {frames.shape[1]}")


def _metrics(arguments: argparse.Namespace) -> None:
    import torch

    from hand_geometry import metrics
    from hand_geometry.motion_io import load_motion
    from hand_geometry.pair import HandPair
    from hand_geometry.plausibility import hand_penetration, limit_violation, self_penetration

    motions = [load_motion(path) for path in (arguments.motion, arguments.truth) if path]
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
        print(f"jitter{name}: {metrics.jitter(points, seen) * 1e3:.2f} mm/frame^3")
        beyond = f"{limits.share:.2%} of the angles, {limits.excess.rad2deg():.2f} degrees on average"
        print(f"beyond joint limits{name}: {beyond}")
        print(f"penetration{name}: itself {self_penetration(points, seen) * 1e3:.2f} mm, "
              f"other hand {hand_penetration(points, seen) * 1e3:.2f} mm")  # fmt: skip


def _export(arguments: argparse.Namespace) -> None:
    from hand_geometry.features import params_to_features
    from hand_geometry.motion_io import load_motion, save_motion, write_npz

    motion = load_motion(arguments.motion)
    if arguments.layout == "params":
        save_motion(arguments.out, motion, fps=motion["fps"], valid=motion["valid"], captions=motion["captions"])
    else:
        write_npz(arguments.out, {
            "features": params_to_features(motion),
            "valid": motion["valid"],
            "fps": np.array(motion["fps"]),
            "captions": np.array(motion["captions"], dtype=np.str_),
        })  # fmt: skip
    print(f"{arguments.out}: {len(motion['transl'])} frames as {arguments.layout}")


def _read_arrays(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise InputError(f"{path}: Expected a file of keypoints, got no such file. Check the path.")
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, AttributeError) as error:
        raise InputError(
            f"{path}: Expected an .npz of plain arrays, got a file that cannot be read ({error})."
        ) from error


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"--size: Expected WIDTHxHEIGHT, got {text!r}. Try 480x360.")
    return int(parts[0]), int(parts[1])


if __name__ == "__main__":
    sys.exit(main())
