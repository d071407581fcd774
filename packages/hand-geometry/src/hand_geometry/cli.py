"""The command ``hand-geometry``: look at, fit, draw, compare and convert hand motions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from hand_geometry.cli_fit import add_fit_commands
from hand_geometry.errors import HandGeometryError, InputError

_EXAMPLES = """examples:
  hand-geometry info                                    the hand that ships with the package
  hand-geometry info wave.npz                           frames, seconds, captions of a motion
  hand-geometry fit keypoints.npz --out wave.npz        21 keypoints a hand -> MANO parameters
  hand-geometry calibrate tracked.npz known.npz --out mytracker.npy
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
    info.add_argument("motion", nargs="?", help="a motion .npz or a MANO .pkl; none describes the default hand")
    info.add_argument("--side", default="right", help="side of a hand model: left or right (default: %(default)s)")
    info.set_defaults(run=_info)

    add_fit_commands(commands)

    render = commands.add_parser("render", help="draw one or several motions")
    render.add_argument("motions", nargs="+", help="motion .npz files; several are drawn side by side")
    render.add_argument("--out", required=True, help=".mp4, .gif, .webp or .png (film strip)")
    render.add_argument("--size", default="480x360", help="width x height of each (default: %(default)s)")
    render.add_argument("--view", default="egocentric", help="egocentric, three-quarter, front or above")
    render.add_argument("--titles", nargs="+", help="one for each motion (default: their captions)")
    render.set_defaults(run=_render)

    export = commands.add_parser("export", help="convert between parameters and features")
    export.add_argument("motion", help=".npz with parameters or with 'features' (T, 198)")
    export.add_argument("--out", required=True, help=".npz to write")
    export.add_argument("--layout", choices=("params", "features"), default="params")
    export.set_defaults(run=_export)
    return parser


def _info(arguments: argparse.Namespace) -> None:
    if arguments.motion is None or Path(arguments.motion).suffix.lower() in (".pkl", ".pickle"):
        _describe_hand(arguments.motion or "default", arguments.side)
        return
    from hand_geometry.motion_io import load_motion

    motion = load_motion(arguments.motion)
    frames, fps = len(motion["transl"]), motion["fps"]
    left, right = motion["valid"].mean(0)
    print(f"{arguments.motion}: {frames} frames at {fps:g} fps = {frames / fps:.2f} s")
    print(f"seen: left {left:.0%}, right {right:.0%} of the frames")
    for caption in motion["captions"]:
        print(f"caption: {caption}")


def _describe_hand(path: str, side: str) -> None:
    from hand_geometry.assets import check_side, load_asset

    asset = load_asset(path, check_side(side))
    print(f"{path} hand: {len(asset.v_template)} vertices, {len(asset.faces)} triangles, 16 joints, 5 tips")
    blend = "none" if asset.posedirs is None else "135"
    print(f"shape components: {asset.shapedirs.shape[-1]}, pose blend shapes: {blend}\nsource: {asset.source}")


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


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"--size: Expected WIDTHxHEIGHT, got {text!r}. Try 480x360.")
    return int(parts[0]), int(parts[1])


if __name__ == "__main__":
    sys.exit(main())
