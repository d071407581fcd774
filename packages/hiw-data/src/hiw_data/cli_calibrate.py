"""The command `hiw calibrate`: loop, stereo, truth, wide."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = """How good the annotator is, measured:

  hiw calibrate loop --out report              known motions are drawn, tracked, fitted, and compared
  hiw calibrate loop --conditions plain "far away" --seeds 101 --frames 45
  hiw calibrate stereo pair/                   each of two calibrated views against the triangulation of both
  hiw calibrate truth my.zarr truth/           clips of a store against your own joints or MANO motion
  hiw calibrate wide                           what a wide angle does, with true, expected and tracked landmarks

With --out FOLDER the table is also written there, as Markdown and JSON, and, of the loop, with pictures."""


def add_calibrate(commands: Any) -> None:
    """Adds the command to `hiw`; each part sets ``run``, a function of the parsed arguments."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser(
        "calibrate", help="measure the annotator against truth", description=HELP, formatter_class=raw
    )
    parts = command.add_subparsers(dest="part", required=True, metavar="PART")

    loop = parts.add_parser("loop", help="known motions are drawn, tracked, fitted, and compared")
    loop.add_argument("--conditions", nargs="+", metavar="NAME", help="some of them; default all")
    loop.add_argument("--list", action="store_true", help="list the conditions and stop")
    _add_motions(loop, 60)
    _add_common(loop)
    loop.set_defaults(run=run_loop)

    stereo = parts.add_parser("stereo", help="each of two calibrated views against the triangulation of both")
    stereo.add_argument(
        "folder", type=Path, help="cam0.mp4, cam1.mp4, c0.dat, c1.dat, rot_trans_c0.dat, rot_trans_c1.dat"
    )
    _add_common(stereo)
    stereo.set_defaults(run=run_stereo)

    truth = parts.add_parser("truth", help="clips of a store against your own joints or MANO motion")
    truth.add_argument("store", type=Path, help="as hiw annotate wrote it")
    truth.add_argument(
        "truth",
        type=Path,
        help="a store, or a folder of .npz named after clips or videos: joints (T, 2, 21, 3) in metres, or a MANO "
        "motion; fps; optional valid (T, 2), start_seconds",
    )
    truth.add_argument(
        "--align",
        choices=["none", "clip"],
        default="none",
        help="clip: the truth is in other axes, turn it by one rotation a clip (default %(default)s)",
    )
    truth.add_argument("--mano", type=Path, metavar="FOLDER", help="MANO files, for clips with betas")
    truth.add_argument("--out", type=Path, metavar="FOLDER", help="write the report there")
    truth.set_defaults(run=run_truth)

    wide = parts.add_parser("wide", help="what a wide angle does to tracker, landmark table and fit")
    wide.add_argument("--without-tracker", action="store_true", help="leave the tracker's landmarks out")
    _add_motions(wide, 45)
    _add_common(wide)
    wide.set_defaults(run=run_wide)


def _add_motions(part: argparse.ArgumentParser, frames: int) -> None:
    part.add_argument("--seeds", type=int, nargs="+", default=[101, 102], help="of the motions (default 101 102)")
    part.add_argument("--frames", type=int, default=frames, help="of each motion, 30 a second (default %(default)s)")


def _add_common(part: argparse.ArgumentParser) -> None:
    part.add_argument("--model", type=Path, metavar="TASK", help="MediaPipe's hand model; default the cached one")
    part.add_argument("--out", type=Path, metavar="FOLDER", help="write the report there")


def run_loop(arguments: argparse.Namespace) -> int:
    """`hiw calibrate loop`: returns its exit status."""
    from hiw_data.calibration.conditions import chosen
    from hiw_data.calibration.loop import LoopConfig, closed_loop
    from hiw_data.calibration.report import loop_data, loop_rows, loop_text, write_pictures, write_report

    scenes = chosen(arguments.conditions)
    if arguments.list:
        print("\n".join(scene.name for scene in scenes))
        return 0
    config = LoopConfig(scenes=scenes, seeds=tuple(arguments.seeds), frames=arguments.frames)
    tracker = _tracker(arguments)
    conditions = closed_loop(tracker, config)
    text = loop_text(loop_rows(conditions))
    print(text, end="")
    if arguments.out is not None:
        data = loop_data(conditions, tracker, config.seeds, config.frames)
        files = write_report(arguments.out, "loop", text, data)
        files.append(write_pictures(arguments.out / "loop.png", conditions, config.seeds, config.frames))
        _say(files)
    return 0


def run_stereo(arguments: argparse.Namespace) -> int:
    """`hiw calibrate stereo`: returns its exit status."""
    from hiw_data.calibration.report import STEREO_COLUMNS, table, write_report
    from hiw_data.calibration.stereo import StereoRig, stereo, view_files

    StereoRig.load(arguments.folder), view_files(arguments.folder)  # before the tracker is made
    rows = [view.figures() for view in stereo(arguments.folder, _tracker(arguments))]
    units = ", ".join(f"view {row['view']} {row['unit_mm']:.1f} mm" for row in rows)
    text = (
        "# Two calibrated views\n\nEach view's fit against the triangulation of the tracker's landmarks in both. It "
        "owes nothing to a guess of depth; where the tracker errs alike in both views, so does it. The unit of the "
        f'calibration by the hand\'s size: {units}.\n\n{table(rows, STEREO_COLUMNS)}\n\n"Hand model alone" is what '
        "the model, fitted to the triangulated landmarks themselves, misses them by.\n"
    )
    print(text, end="")
    if arguments.out is not None:
        _say(write_report(arguments.out, "stereo", text, {"views": rows}))
    return 0


def run_truth(arguments: argparse.Namespace) -> int:
    """`hiw calibrate truth`: returns its exit status."""
    from hiw_data.calibration.report import TRUTH_COLUMNS, table, write_report
    from hiw_data.calibration.truth import compare_with_truth, truth_figures

    clips, left_out = compare_with_truth(arguments.store, arguments.truth, align=arguments.align, mano=arguments.mano)
    rows = [{"clip": clip.clip_id, **truth_figures([clip])} for clip in clips]
    rows.append({"clip": "all", **truth_figures(clips)})
    text = f"# Against the truth of {arguments.truth}\n\n{table(rows, TRUTH_COLUMNS)}\n"
    if left_out:
        text += f"\nNot compared: {len(left_out)}\n\n" + "".join(f"- {name}: {why}\n" for name, why in left_out[:50])
    print(text, end="")
    if arguments.out is not None:
        data = {"clips": rows[:-1], "all": rows[-1], "align": arguments.align, "not_compared": left_out}
        _say(write_report(arguments.out, "truth", text, data))
    return 0


def run_wide(arguments: argparse.Namespace) -> int:
    """`hiw calibrate wide`: returns its exit status."""
    from hiw_data.calibration.loop import CIRCULARITY
    from hiw_data.calibration.report import WIDE_COLUMNS, table, write_report
    from hiw_data.calibration.wide import wide_angle

    tracker = None if arguments.without_tracker else _tracker(arguments)
    rows = [row.figures() for row in wide_angle(tracker, seeds=arguments.seeds, frames=arguments.frames)]
    text = f"# Wide angles\n\n{CIRCULARITY}\n\n{table(rows, WIDE_COLUMNS)}\n"
    print(text, end="")
    if arguments.out is not None:
        _say(write_report(arguments.out, "wide", text, {"circularity": CIRCULARITY, "rows": rows}))
    return 0


def _tracker(arguments: argparse.Namespace) -> Any:
    from hiw_data.tracking import MediaPipeTracker

    return MediaPipeTracker(arguments.model)


def _say(files: list[Path]) -> None:
    print("\nWrote " + ", ".join(str(path) for path in files))
