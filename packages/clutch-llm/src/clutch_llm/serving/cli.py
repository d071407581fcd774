"""``clutch serve`` and ``clutch chat``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clutch_llm.serving.settings import LOOPBACK_HOSTS, ServeConfig

#: Environment variable with the service's API key.
KEY_VARIABLE = "CLUTCH_API_KEY"

SERVE_EXAMPLES = """examples:
  clutch serve data/models/clutch
  CLUTCH_API_KEY=a-long-secret clutch serve data/models/clutch --host 0.0.0.0 --allow-host hands.example.org
  curl -s localhost:8000/v1/generate -H 'Content-Type: application/json' -d '{"text": "both hands clap"}'
"""


def add_commands(subparsers: Any, running: argparse.ArgumentParser) -> None:
    """Add ``serve`` and ``chat`` to the subparsers of an argparse parser.

    Args:
        subparsers: what ``ArgumentParser.add_subparsers`` returned.
        running: parent with ``--device`` and ``--dtype``.
    """
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("model", nargs="?", metavar="MODEL",
                        help="model folder, or a model of the Hugging Face hub (default: data/models/clutch where it "
                             "is there, else the model of the package)")  # fmt: skip
    common.add_argument("--verbose", action="store_true", help="tell what is done, and where an error comes from")
    _add_serve(subparsers, [common, running])
    _add_chat(subparsers, [common, running])


def _add_serve(subparsers: Any, parents: list[argparse.ArgumentParser]) -> None:
    serve = subparsers.add_parser(
        "serve",
        help="a service and a page to type a sentence and watch the hands",
        description="Serve a model: a page at /, the interface at /docs. Requests carry the API key that "
        f"{KEY_VARIABLE} of the environment holds, if it does.",
        epilog=SERVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=parents,
    )
    default = ServeConfig()
    serve.add_argument("--host", default="127.0.0.1",
                       help="address to listen at; only this machine can reach the default (%(default)s)")  # fmt: skip
    serve.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one (default: %(default)s)")
    serve.add_argument("--allow-host", action="append", default=[], metavar="NAME",
                       help="another name in the Host header that is answered; * for all")  # fmt: skip
    serve.add_argument("--without-key", action="store_true", help="serve other machines without an API key")
    for option, name, about in (
        ("--max-text", "max_text", "characters of a text"),
        ("--max-samples", "max_samples", "motions of one request"),
        ("--max-body", "max_body", "bytes of a request"),
        ("--max-requests", "max_requests", "requests in flight; more are answered 503"),
        ("--max-queue", "max_queue", "requests that wait for the model; more are answered 429"),
        ("--batch-size", "batch_size", "motions generated as one batch"),
        ("--kept-motions", "kept_motions", "motions that can still be downloaded"),
    ):
        serve.add_argument(option, type=int, default=getattr(default, name), help=f"{about} (default: %(default)s)")
    serve.add_argument("--gather-ms", type=float, default=default.gather_ms,
                       help="milliseconds for which a batch waits for others (default: %(default)s)")  # fmt: skip
    serve.add_argument("--timeout", type=float, default=default.timeout,
                       help="seconds after which a request is given up (default: %(default)s)")  # fmt: skip
    serve.set_defaults(run=run_serve)


def _add_chat(subparsers: Any, parents: list[argparse.ArgumentParser]) -> None:
    chat = subparsers.add_parser(
        "chat", help="type sentences in the terminal, get motions and the model's own captions", parents=parents
    )
    chat.add_argument("--out", type=Path, default=Path("chat"), help="folder for the motions (default: %(default)s)")
    chat.add_argument("--format", default="html", help="ending of the files, see generate --out (default: %(default)s)")
    chat.add_argument("--view", action="store_true", help="open each motion in the browser")
    chat.add_argument("--seconds", type=float, help="exact length; left out, the model decides")
    chat.add_argument("--seed", type=int, default=0, help="the same text and seed give the same motions")
    chat.set_defaults(run=run_chat)


def config_of(args: argparse.Namespace, api_key: str | None) -> ServeConfig:
    """Limits of a command line."""
    names = ("max_text", "max_samples", "max_body", "max_requests", "max_queue", "batch_size", "kept_motions",
             "gather_ms", "timeout")  # fmt: skip
    hosts = (*LOOPBACK_HOSTS, args.host.lower(), *(name.lower() for name in args.allow_host))
    return ServeConfig(allowed_hosts=hosts, api_key=api_key, **{name: getattr(args, name) for name in names})


def run_serve(args: argparse.Namespace) -> None:
    """Check all that can be wrong, then open the model, then serve."""
    from clutch_llm.serving.running import check_access, check_installed, listen, serve

    check_installed()
    api_key = os.environ.get(KEY_VARIABLE) or None
    check_access(args.host, api_key, without_key=args.without_key)
    config = config_of(args, api_key)
    with listen(args.host, args.port) as listening:
        from clutch_llm.clutch import Clutch
        from clutch_llm.packaged import default_model

        clutch = Clutch.from_pretrained(args.model or default_model(), device=args.device, dtype=args.dtype)
        serve(clutch, config, listening, announce=lambda url: print(url, flush=True))


def run_chat(args: argparse.Namespace) -> None:
    """Read sentences until they end."""
    from clutch_llm.motion_files import check_target
    from clutch_llm.serving.chat import Chat

    check_target(args.out / f"001.{args.format}")

    from clutch_llm.clutch import Clutch
    from clutch_llm.packaged import default_model

    clutch = Clutch.from_pretrained(args.model or default_model(), device=args.device, dtype=args.dtype)
    chat = Chat(clutch, args.out, f".{args.format}", print, view=args.view, seconds=args.seconds, seed=args.seed)
    chat.run(_lines())


def _lines() -> Iterator[str]:
    """Lines of the keyboard, or of what is piped in."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            yield input(prompt)
        except (EOFError, KeyboardInterrupt):
            return
