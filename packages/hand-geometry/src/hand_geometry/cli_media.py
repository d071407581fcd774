"""The subcommands that show and convert motions: ``render``, ``view`` and ``export``."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from hand_geometry.errors import InputError

READABLE = "a motion: .npz, .glb, .bvh, .usd, or the .npy / .pth of the released code and HaWoR"

_RENDER = """examples:
  hand-geometry render wave.npz --out wave.mp4                       640x480 H.264
  hand-geometry render wave.npz --out strip.png --strip 6            six pictures beside each other
  hand-geometry render truth.npz model.npz --titles truth model --out both.gif
  hand-geometry render a.npz b.npz c.npz d.npz --columns 2 --out grid.mp4
  hand-geometry render wave.npz --view above --out wave.webp         a named view
  hand-geometry render wave.npz --view 30,20 --out wave.gif          30 degrees from the right, 20 from above
"""

_VIEW = """examples:
  hand-geometry view wave.npz                                        opens a browser; Ctrl-C ends it
  hand-geometry view truth.npz model.npz --titles truth model        side by side, one camera
  hand-geometry view wave.npz --html wave.html                       one file to send to somebody; works offline
  hand-geometry view wave.npz --port 8008 --no-browser               on a remote machine, then on yours:
      ssh -L 8008:127.0.0.1:8008 REMOTE                              and open http://127.0.0.1:8008/
  hand-geometry view wave.npz --host 0.0.0.0 --port 8008             anybody who reaches this machine may look
"""

_EXPORT = """formats, by the suffix of --out:
  .npz   this package's own; with --layout features the 198 features a frame
  .glb   animated, skinned glTF for Blender, three.js, Unity, Unreal
  .bvh   motion capture text: skeleton and curves, centimetres
  .usd   (.usda, .usdc) UsdSkel; needs pip install 'hand-geometry[usd]'
  .npy   the released CLUTCH code's dict (pred_trans, pred_rot, pred_hand_pose)
  .pth   HaWoR's world_space_res.pth

examples:
  hand-geometry export wave.npz --out wave.glb --forearms
  hand-geometry export wave.glb --out wave.npz                       back again, after an editor changed its curves
  hand-geometry export world_space_res.pth --out clip.npz --from-hand MANO_FOLDER
                                                                     moves the wrists from MANO's hand to the open one
  hand-geometry export clip.npz --out clip.glb --hand MANO_FOLDER    with MANO's mesh and shape
  hand-geometry export wave.npz --out features.npz --layout features
"""


def add_media_commands(commands: Any) -> None:
    """Add ``render``, ``view`` and ``export`` to a parser.

    Args:
        commands: What ``ArgumentParser.add_subparsers`` returned.
    """
    formatter = argparse.RawDescriptionHelpFormatter

    render = commands.add_parser(
        "render", help="draw one or several motions to a file", epilog=_RENDER, formatter_class=formatter
    )
    render.add_argument("motions", nargs="+", help=f"{READABLE}; several are drawn side by side")
    render.add_argument("--out", required=True, help=".mp4, .gif, .webp or .png (film strip)")
    render.add_argument("--size", default="640x480", help="width x height of each (default: %(default)s)")
    render.add_argument(
        "--view", default="egocentric", help="egocentric, three-quarter, front, above, or YAW,PITCH in degrees"
    )
    render.add_argument("--titles", nargs="+", help="one for each motion (default: their captions)")
    render.add_argument("--columns", type=int, help="motions in a row (default: all)")
    render.add_argument("--strip", type=int, default=8, help="pictures in a film strip (default: %(default)s)")
    render.set_defaults(run=_render)

    view = commands.add_parser("view", help="play motions in a browser", epilog=_VIEW, formatter_class=formatter)
    view.add_argument("motions", nargs="+", help=f"{READABLE}; several play side by side")
    view.add_argument("--titles", nargs="+", help="one for each motion (default: their captions)")
    view.add_argument("--html", metavar="FILE", help="write the page to a file instead of serving it")
    view.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    view.add_argument("--port", type=int, default=0, help="port to listen at (default: a free one)")
    view.add_argument("--no-browser", action="store_true", help="do not open a browser on this machine")
    view.add_argument("--no-forearms", action="store_true", help="hands alone")
    view.add_argument("--hand", default="default", help="MANO file or folder of the motions' betas and mesh")
    view.set_defaults(run=_view)

    export = commands.add_parser(
        "export", help="convert a motion to another format", epilog=_EXPORT, formatter_class=formatter
    )
    export.add_argument("motion", help=READABLE)
    export.add_argument("--out", required=True, help="file to write; its suffix chooses the format")
    export.add_argument("--layout", choices=("params", "features"), default="params", help="of an .npz")
    export.add_argument(
        "--fps", type=float, help="frames per second of a file that does not say (.npy, .pth, .bvh that lost it)"
    )
    export.add_argument("--forearms", action="store_true", help="add forearms that fade out (.glb)")
    export.add_argument("--hand", default="default", help="MANO file or folder to write the mesh and bones of")
    export.add_argument(
        "--from-hand", metavar="MODEL", help="the hand that the motion was made with, if it is not --hand's"
    )
    export.add_argument(
        "--left-shapedirs",
        choices=("auto", "mirrored", "as-shipped"),
        default="auto",
        help="which shape components of --from-hand's left hand the betas belong to: mirrored ones (HaWoR, HOT3D, "
        "InterHand2.6M), or the official file's as shipped (ARCTIC, H2O, DexYCB, TACO); auto mirrors them where they "
        "are not (default: %(default)s)",
    )
    export.set_defaults(run=_export)


def _render(arguments: argparse.Namespace) -> None:
    from hand_geometry.exporting import import_motion
    from hand_geometry.features import params_to_features
    from hand_geometry.kinematics import features_to_joints
    from hand_geometry.rendering import frame_camera, render_motion, side_by_side, write_video

    motions = [import_motion(path) for path in arguments.motions]
    size = _size(arguments.size)
    joints = [features_to_joints(params_to_features(m)) for m in motions]
    seen = [points[m["valid"]] if m["valid"].any() else points for points, m in zip(joints, motions, strict=True)]
    camera = frame_camera(seen, size, view=_angles(arguments.view))
    videos = [render_motion(m, fps=m["fps"], size=size, valid=m["valid"], camera=camera) for m in motions]
    titles = arguments.titles
    if titles is None and any(m["captions"] for m in motions):
        titles = [(m["captions"] or [""])[0] for m in motions]
    plain = len(videos) == 1 and not titles
    frames = videos[0] if plain else side_by_side(videos, titles, columns=arguments.columns)
    write_video(arguments.out, frames, motions[0]["fps"], strip=arguments.strip)
    print(f"{arguments.out}: {len(frames)} frames, {frames.shape[2]} x {frames.shape[1]}")


def _view(arguments: argparse.Namespace) -> None:
    from hand_geometry.exporting import import_motion
    from hand_geometry.viewing import serve, viewer_page, write_html

    motions = [import_motion(path) for path in arguments.motions]
    options: dict[str, Any] = {"model": arguments.hand, "forearms": not arguments.no_forearms}
    if arguments.html:
        path = write_html(arguments.html, motions, arguments.titles, **options)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, works offline in any browser")
        return

    def announce(url: str) -> None:
        print(f"Playing at {url} (Ctrl-C ends it)", flush=True)

    page = viewer_page(motions, arguments.titles, **options)
    serve(page, host=arguments.host, port=arguments.port, browser=not arguments.no_browser, announce=announce)


def _export(arguments: argparse.Namespace) -> None:
    from hand_geometry.atomic import write_npz
    from hand_geometry.exporting import export_motion, import_motion, retarget_motion
    from hand_geometry.features import params_to_features

    motion = import_motion(arguments.motion, fps=arguments.fps)
    if arguments.from_hand:
        motion = retarget_motion(motion, arguments.from_hand, arguments.hand, left_shapedirs=arguments.left_shapedirs)
    if arguments.layout == "features":
        write_npz(arguments.out, {
            "features": params_to_features(motion),
            "valid": motion["valid"],
            "fps": np.array(motion["fps"]),
            "captions": np.array(motion["captions"], dtype=np.str_),
        })  # fmt: skip
    else:
        export_motion(arguments.out, motion, model=arguments.hand, forearms=arguments.forearms)
    print(f"{arguments.out}: {len(motion['transl'])} frames at {motion['fps']:g} fps")


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"--size: Expected WIDTHxHEIGHT, got {text!r}. Try 640x480.")
    return int(parts[0]), int(parts[1])


def _angles(text: str) -> str | tuple[float, float]:
    """A named view, or yaw and pitch in radians of degrees from the right and from above."""
    try:
        yaw, pitch = (float(part) for part in text.split(","))
    except ValueError:
        return text
    return -float(np.radians(yaw)), float(np.radians(pitch))  # a camera on the right looks to the left
