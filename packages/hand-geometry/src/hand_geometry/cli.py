"""The command ``hand-geometry``: fit, draw, play, compare and convert hand motions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.cli_media import add_media_commands
from hand_geometry.errors import HandGeometryError, InputError

_EXAMPLES = """examples:
  hand-geometry info                                    the hand that ships with the package
  hand-geometry info wave.npz                           frames, seconds, captions of a motion
  hand-geometry fit keypoints.npz --out wave.npz        21 keypoints a hand -> MANO parameters
  hand-geometry render wave.npz --out wave.mp4          also .gif, .webp, .png (film strip)
  hand-geometry render a.npz b.npz --titles truth model --out both.gif
  hand-geometry metrics model.npz truth.npz             MPJPE, PA-MPJPE, acceleration error, jitter
  hand-geometry view wave.npz                           plays in a browser; --html FILE to send it to somebody
  hand-geometry export wave.npz --out wave.glb          also .bvh, .usd, .npy, .pth, and back
hand-geometry COMMAND --help has more
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

    metrics = commands.add_parser("metrics", help="compare a motion with the true one")
    metrics.add_argument("motion")
    metrics.add_argument("truth")
    metrics.set_defaults(run=_metrics)

    add_media_commands(commands)
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


def _metrics(arguments: argparse.Namespace) -> None:
    from hand_geometry.features import params_to_features
    from hand_geometry.kinematics import features_to_joints
    from hand_geometry.metrics import acceleration_error, jitter, mpjpe, pa_mpjpe
    from hand_geometry.motion_io import load_motion

    pred, truth = load_motion(arguments.motion), load_motion(arguments.truth)
    a, b = (features_to_joints(params_to_features(motion)) for motion in (pred, truth))
    valid = truth["valid"]
    print(f"MPJPE, absolute       {mpjpe(a, b, valid) * 1e3:8.2f} mm")
    print(f"MPJPE, root-aligned   {mpjpe(a, b, valid, align='root') * 1e3:8.2f} mm")
    print(f"PA-MPJPE              {pa_mpjpe(a, b, valid) * 1e3:8.2f} mm")
    print(f"acceleration error    {acceleration_error(a, b, valid, truth['fps']):8.2f} m/s^2")
    print(f"jitter (truth)        {jitter(a, valid) * 1e3:8.2f} ({jitter(b, valid) * 1e3:.2f}) mm/frame^3")


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


if __name__ == "__main__":
    sys.exit(main())
