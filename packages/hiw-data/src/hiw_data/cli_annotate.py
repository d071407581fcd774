"""The command `hiw annotate`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = """Videos of hands become a store of motion and words: each is tracked, fitted to MANO parameters, cut into
clips, cleaned, and told in words from its measured motion.

  hiw annotate videos/ --out my.zarr
  hiw annotate kitchen.mp4 --fov 90 --out kitchen.zarr
  hiw annotate signs/ --view facing --hands both --out signs.zarr
  hiw annotate videos/ --cuts parts.csv --licence CC-BY-4.0 --out parts.zarr
  hiw annotate films/ --cut scene --out films.zarr
  hiw annotate videos/ --engine ray --ray-address auto --workers 0 --out my.zarr

parts.csv has the columns file,start,end and, if there are words, caption; times are seconds or h:m:s.
An interrupted run goes on when it is started again: what each video gave is kept in OUT.work until the store is there.
A video that cannot be used is listed with its reason. The exit status is 1 if none can be used.
Clips that show one hand are kept (--hands both drops them); the summary says how many there are."""

_ON_THE_PAGE = 50


def add_annotate(subparsers: Any) -> None:
    """Adds the command to `hiw`; it sets ``run``, a function of the parsed arguments."""
    raw = argparse.RawDescriptionHelpFormatter
    command = subparsers.add_parser(
        "annotate", help="videos of hands to a store of motion and words", description=HELP, formatter_class=raw
    )
    command.add_argument("videos", nargs="+", type=Path, help="video files, and folders of them")
    command.add_argument("--out", type=Path, required=True, help="the store")
    command.add_argument("--overwrite", action="store_true", help="replace a store that is there")
    command.add_argument("--cuts", type=Path, metavar="CSV", help="use only these parts: file,start,end[,caption]")
    command.add_argument(
        "--cut",
        choices=["length", "scene"],
        default="length",
        help="scene: also where scenes change by a hard cut, so that no clip shows two (default %(default)s)",
    )
    command.add_argument(
        "--scene-threshold",
        type=float,
        default=0.15,
        metavar="SHARE",
        help="share of a picture's colours that changes at a cut, 0 to 1 (default %(default)s)",
    )
    command.add_argument("--name", default="video", help="of the source in the store (default %(default)s)")
    command.add_argument("--licence", default="not stated", help="goes into the data card")
    command.add_argument("--fps", type=float, default=15.0, help="frames a second in the store (default %(default)s)")
    command.add_argument("--max-frames", type=int, default=64, help="of one clip (default %(default)s)")
    camera = command.add_mutually_exclusive_group()
    camera.add_argument("--fov", type=float, metavar="DEGREES", help="the camera's horizontal field of view")
    camera.add_argument("--focal", type=float, metavar="PIXELS", help="the camera's focal length")
    camera.add_argument("--camera", type=Path, metavar="JSON", help="fx, fy, cx, cy, width, height; default a guess")
    command.add_argument(
        "--view",
        choices=["egocentric", "facing"],
        default="egocentric",
        help="the camera sees what the person sees, or looks at the person (default %(default)s)",
    )
    command.add_argument(
        "--tracker",
        choices=["mediapipe", "hawor", "hamer", "wilor", "wilor-mini"],
        default="mediapipe",
        help="looks at the videos, or reads what another found in them, from --results (default %(default)s)",
    )
    command.add_argument("--results", type=Path, metavar="FOLDER", help="of another tracker's results")
    command.add_argument("--mano", type=Path, metavar="FOLDER", help="the MANO files that the results were made with")
    command.add_argument("--results-fps", type=float, help="rate of the frames that the results count")
    command.add_argument("--model", type=Path, metavar="TASK", help="MediaPipe's hand model; default the cached one")
    command.add_argument("--max-hands", type=int, default=4, help="looked for in a picture (default %(default)s)")
    command.add_argument("--fill", type=float, default=0.2, metavar="SECONDS", help="fill shorter gaps (%(default)s)")
    command.add_argument(
        "--hands", choices=["one", "both"], default="one", help="which clips need how many (default %(default)s)"
    )
    command.add_argument("--visible", type=float, default=0.8, help="... in this share of frames (default %(default)s)")
    command.add_argument("--most-clips", type=int, help="keep at most so many, balanced over activities")
    command.add_argument("--keep-outliers", action="store_true", help="drop no clip for its accelerations")
    command.add_argument("--keep-duplicates", action="store_true", help="drop no clip for repeating another")
    command.add_argument("--variants", type=int, default=3, help="captions of each length (default %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="draws splits and wording (default %(default)s)")
    command.add_argument("--workers", type=int, default=1, help="videos at a time (default %(default)s)")
    command.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="this machine, or Ray (extra ray): its workers see videos and OUT.work under the same paths; the loss of "
        "one costs the video in hand alone, which is tried again (default %(default)s)",
    )
    command.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="of a Ray cluster that is there (auto, host:6379), default one of this machine; --workers 0 takes it all",
    )
    command.add_argument("--timings", action="store_true", help="say what each stage took for a minute of video")
    command.add_argument("--page", type=Path, metavar="HTML", help="write the first 50 clips as a page that plays them")
    command.add_argument("--keep-work", action="store_true", help="keep OUT.work, for a run with other settings")
    command.set_defaults(run=run_annotate)


def run_annotate(arguments: argparse.Namespace) -> int:
    """`hiw annotate`: returns its exit status."""
    from hiw_data import annotate
    from hiw_data.engine.timings import Timings
    from hiw_data.pipeline import BuildConfig
    from hiw_data.sources.annotated import annotation_config, scenes_of

    config = annotation_config(
        fov=arguments.fov,
        focal=arguments.focal,
        camera=arguments.camera,
        view=arguments.view,
        fill_seconds=arguments.fill,
        max_frames=arguments.max_frames,
        variants=arguments.variants,
        seed=arguments.seed,
        hands=arguments.hands,
        visible=arguments.visible,
        most_clips=arguments.most_clips,
        keep_outliers=arguments.keep_outliers,
        keep_duplicates=arguments.keep_duplicates,
    )
    timings = Timings()
    store = annotate(
        arguments.videos,
        arguments.out,
        config,
        tracker=_tracker(arguments),
        store=BuildConfig(fps=arguments.fps, seed=arguments.seed),
        overwrite=arguments.overwrite,
        keep_work=arguments.keep_work,
        cuts=arguments.cuts,
        scenes=scenes_of(arguments.cut, arguments.scene_threshold),
        name=arguments.name,
        licence=arguments.licence,
        workers=arguments.workers,
        engine=arguments.engine,
        ray_address=arguments.ray_address,
        timings=timings,
    )
    print(_summary(store, arguments.name))
    if arguments.timings:
        print("\n".join(["", *timings.lines()]))
    if arguments.page is not None:
        _write_page(arguments.page, [store.clip(index) for index in range(min(len(store), _ON_THE_PAGE))])
        print(f"\nWrote {arguments.page}: open it in a browser.")
    print(f"\nWrote {arguments.out}. Next: hiw browse {arguments.out}, hiw card {arguments.out}")
    return 0


def _tracker(arguments: argparse.Namespace) -> Any:
    from hiw_data.sources.annotated import make_tracker

    return make_tracker(
        arguments.tracker,
        model=arguments.model,
        max_hands=arguments.max_hands,
        results=arguments.results,
        mano=arguments.mano,
        results_fps=arguments.results_fps,
    )


def _write_page(path: Path, clips: Sequence[Any]) -> None:
    from hand_geometry import features_to_params, write_html

    motions = [{**features_to_params(clip["features"]), "valid": clip["valid"], "fps": clip["fps"]} for clip in clips]
    write_html(path, motions, [f"{clip['clip_id']}: {clip['captions'][0]}" for clip in clips])


def _summary(store: Any, name: str) -> str:
    summary = store.summary()
    clips = [row["attributes"] for row in store.metadata]
    seconds = sum(c["end_seconds"] - c["start_seconds"] for c in clips)
    one_handed = sum(" and " not in c["hands"] for c in clips)
    pixels = sorted(c["reprojection_px"] for c in clips if "reprojection_px" in c)
    lines = [
        f"{len(clips)} clips of {len({c['file'] for c in clips})} videos, {seconds:.1f} s; {one_handed} show one hand"
    ]
    if pixels:
        middle, worst = pixels[len(pixels) // 2], pixels[-1]
        lines.append(f"distance of the fit in the image: median {middle:.1f} px, worst clip {worst:.1f} px")
    doubts = sorted(c["camera_doubt_deg"] for c in clips if "camera_doubt_deg" in c)
    if doubts:
        lines.append(
            f"note: the camera of {len(doubts)} clips was guessed; if it is a wide-angle one, their hands are turned "
            f"by about {doubts[len(doubts) // 2]:.0f} degrees (median). Say --fov, --focal or --camera if you know it."
        )
    lines += [f"note: {note}" for note in summary.get("notes", [])]
    skipped = summary["skipped"]
    if skipped["count"]:
        lines.append(f"not used: {skipped['count']}")
        lines += [f"  {row['clip_id']}: {row['reason']}" for row in skipped["clips"][:20]]
        if skipped["count"] > 20:
            lines.append(f"  and {skipped['count'] - 20} more, see quality.json in the store")
    lines += ["", *(f"  {row['clip_id']}: {row['captions'][0]}" for row in store.metadata[:5])]
    return "\n".join(lines)
