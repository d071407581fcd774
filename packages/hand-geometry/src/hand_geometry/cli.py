"""The command ``hand-geometry``: fit, draw, play, compare and convert hand motions."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from hand_geometry.cli_fit import add_fit_commands
from hand_geometry.cli_media import READABLE, add_media_commands
from hand_geometry.command_log import add_log_file, command_log
from hand_geometry.errors import HandGeometryError

_EXAMPLES = """examples:
  hand-geometry info                                    the hand that ships with the package
  hand-geometry info wave.npz                           frames, seconds, captions of a motion
  hand-geometry fit keypoints.npz --out wave.npz        21 keypoints a hand -> MANO parameters
  hand-geometry calibrate tracked.npz known.npz --out mytracker.npy
  hand-geometry render wave.npz --out wave.mp4          also .gif, .webp, .png (film strip)
  hand-geometry render a.npz b.npz --titles truth model --out both.gif
  hand-geometry metrics model.npz truth.npz             MPJPE, MPVPE, PA, acceleration, plausibility
  hand-geometry metrics model.npz                       jitter, joint limits, penetration
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
    told = shlex.join(["hand-geometry", *(sys.argv[1:] if argv is None else argv)])
    try:
        with command_log(arguments.log_file, told=told):
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
    info.add_argument("motion", nargs="?", help=f"{READABLE}; or a MANO .pkl; none describes the default hand")
    info.add_argument("--side", default="right", help="side of a hand model: left or right (default: %(default)s)")
    info.set_defaults(run=_info)

    add_fit_commands(commands)

    add_media_commands(commands)
    add_log_file(commands)
    return parser


def _info(arguments: argparse.Namespace) -> None:
    if arguments.motion is None or Path(arguments.motion).suffix.lower() in (".pkl", ".pickle"):
        _describe_hand(arguments.motion or "default", arguments.side)
        return
    from hand_geometry.exporting import import_motion

    motion = import_motion(arguments.motion)
    frames, fps = len(motion["transl"]), motion["fps"]
    left, right = motion["valid"].mean(0)
    print(f"{arguments.motion}: {frames} frames at {fps:g} fps = {frames / fps:.2f} s")
    print(f"seen: left {left:.0%}, right {right:.0%} of the frames")
    for caption in motion["captions"]:
        print(f"caption: {caption}")


def _describe_hand(path: str, side: str) -> None:
    from hand_geometry.assets import check_side
    from hand_geometry.sides import load_sided

    asset = load_sided(path, check_side(side))
    print(f"{path} hand: {len(asset.v_template)} vertices, {len(asset.faces)} triangles, 16 joints, 5 tips")
    blend = "none" if asset.posedirs is None else "135"
    print(f"shape components: {asset.shapedirs.shape[-1]}, pose blend shapes: {blend}\nsource: {asset.source}")


if __name__ == "__main__":
    sys.exit(main())
