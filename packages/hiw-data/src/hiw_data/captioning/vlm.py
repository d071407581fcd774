"""Captions by models: four questions to a vision model, one summary, a choice from a closed vocabulary, and the checks.

The two text stages of 3D-HIW (CLUTCH, ICLR 2026), with the motion's own claims shown to the language model (HandX) and
held against every caption. Answers are kept as they come (``cache``), so that a run that ends early goes on by being
started again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

from hiw_data.captioning.cache import AnswerCache
from hiw_data.captioning.client import ChatClient
from hiw_data.captioning.embeddings import Embedder, load_embedder
from hiw_data.captioning.frames import Frames, sample_frames
from hiw_data.captioning.jobs import CaptionConfig, CaptionJob, CaptionRun, Draft
from hiw_data.captioning.limits import Clock
from hiw_data.captioning.narrations import parse_narration
from hiw_data.captioning.problems import EndpointError, MissingPackageError, QuestionError
from hiw_data.captioning.prompt_files import prompt_labels
from hiw_data.captioning.questions import (
    Question,
    atomic_questions,
    choice_question,
    fine_question,
    summary_question,
    verification_question,
)
from hiw_data.captioning.results import drop_outliers, result_of
from hiw_data.captioning.vocabulary import ALWAYS_ROLES, Retriever, Vocabulary, build_vocabulary
from hiw_data.errors import ClipError, OptionError

logger = logging.getLogger(__name__)
_T = TypeVar("_T")


def caption_clips(
    clips: Iterable[CaptionJob | Mapping[str, Any]],
    frames: Frames,
    config: CaptionConfig,
    *,
    progress: bool = False,
    clock: Clock | None = None,
) -> CaptionRun:
    """Captions clips; each one comes out captioned or listed with its reason.

    Args:
        clips: Jobs, or clips of a store (their codes are measured; ``attributes["narration"]`` is a narration).
        frames: Clip id -> its frames. Called from threads, once a stage; what it raises lists the clip.
        config: Endpoints, file of answers, filters.
        progress: Whether a bar is shown.
        clock: For rate limits and waits; None for the machine's own.

    Raises:
        OptionError: Two clips have one id.
        CacheError, MissingPackageError: Nothing can be asked.
    """
    jobs = [_job(clip) for clip in clips]
    if len({job.clip_id for job in jobs}) != len(jobs):
        raise OptionError("Expected clips with ids of their own, got one id twice.")
    logger.info("Prompts: %s", ", ".join(prompt_labels().values()))
    return _run_alone(lambda: _caption(jobs, frames, config, progress, clock))


def _run_alone(make: Callable[[], Awaitable[_T]]) -> _T:
    """Runs a coroutine to its end, also where a loop runs already (a notebook)."""

    async def main() -> _T:
        return await make()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    out: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            out.append(asyncio.run(main()))
        except BaseException as error:  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="caption_clips")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return out[0]


def _job(clip: CaptionJob | Mapping[str, Any]) -> CaptionJob:
    if isinstance(clip, CaptionJob):
        return clip
    from hiw_data.captioning.cli import codes_of_clip

    narration = clip["attributes"].get("narration")
    said = narration if isinstance(narration, list) else [narration]
    return CaptionJob(clip["clip_id"], codes_of_clip(clip), tuple(s for s in said if isinstance(s, str) and s))  # type: ignore[arg-type]


async def _caption(
    jobs: list[CaptionJob], frames: Frames, config: CaptionConfig, progress: bool, clock: Clock | None
) -> CaptionRun:
    drafts = [Draft(job, [str(claim) for claim in job.codes.claims()]) for job in jobs]
    embedder = load_embedder(config.embeddings)
    vocabulary = config.vocabulary
    with AnswerCache(config.cache) as cache:
        async with (
            ChatClient(config.vlm, cache, clock, config.seed) as vlm,
            ChatClient(config.llm, cache, clock, config.seed + 1) as llm,
        ):
            stages = _Stages(config, frames, vlm, llm)
            await stages.run(drafts, stages.describe, "describing", progress)
            ready = [draft for draft in drafts if "high" in draft.sentences]
            if config.closed and ready and not stages.stopped:
                vocabulary = vocabulary or _vocabulary(ready, embedder)
                stages.retriever = Retriever(vocabulary, embedder)
                await stages.run(ready, stages.choose, "choosing", progress)
            usage = {"vlm": vlm.usage.to_dict(), "llm": llm.usage.to_dict()}
    results = [result_of(draft, config) for draft in drafts]
    if config.outlier_limit is not None:
        drop_outliers(results, [d.claims for d in drafts], embedder, config.outlier_limit)
    digest = vocabulary.digest if vocabulary and config.closed else ""
    for result in results:
        result["vocabulary"], result["embeddings"] = digest, embedder.name
    run = CaptionRun(results, usage, prompt_labels(), vocabulary if config.closed else None, stages.stopped)
    logger.info("%d of %d clips captioned; asked: %s", run.captioned, len(results), usage)
    return run


def _vocabulary(drafts: Sequence[Draft], embedder: Embedder) -> Vocabulary:
    said = [text for d in drafts for text in d.job.narrations]
    for answers in (d.answers["action_object"] for d in drafts):
        things = [f"the {thing}" for thing in answers["objects"]]
        said.append(f"{answers['action']} {' and '.join(things)}")
    roles = [d.answers["hand_role"][side] for d in drafts for side in ("left", "right")]
    return build_vocabulary(said, roles, embedder)


class _Stages:
    """The two stages of one clip, and many clips at once."""

    def __init__(self, config: CaptionConfig, frames: Frames, vlm: ChatClient, llm: ChatClient) -> None:
        self._config, self._frames, self._vlm, self._llm = config, frames, vlm, llm
        self.retriever: Retriever | None = None
        self.stopped = ""

    async def run(
        self, drafts: Sequence[Draft], stage: Callable[[Draft], Awaitable[None]], name: str, progress: bool
    ) -> None:
        """Takes each draft through a stage; what fails is a problem of that draft alone."""
        waiting = iter(drafts)
        with tqdm(total=len(drafts), desc=name, unit="clip", disable=not progress) as bar:

            async def worker() -> None:
                for draft in waiting:
                    await self._one(draft, stage)
                    bar.update()

            most = max(self._config.vlm.concurrency, self._config.llm.concurrency)
            tasks = [asyncio.create_task(worker()) for _ in range(min(most, len(drafts)))]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, draft: Draft, stage: Callable[[Draft], Awaitable[None]]) -> None:
        if self.stopped:
            draft.problems.append(f"not asked: {self.stopped}")
            return
        try:
            await stage(draft)
        except EndpointError as error:
            if not self.stopped:
                logger.error("The asking ends: %s", error)
            self.stopped = self.stopped or str(error)
            draft.problems.append(str(error))
        except (QuestionError, ClipError, OSError) as error:
            draft.problems.append(str(error))

    async def _shown(self, draft: Draft) -> tuple[bytes, ...]:
        name, number = draft.job.clip_id, self._config.frames
        try:
            return await asyncio.to_thread(lambda: sample_frames(self._frames(name), number))
        except MissingPackageError:
            raise
        except Exception as error:  # a reader of anybody's: whatever it raises is this clip's reason
            raise ClipError(f"frames: {type(error).__name__}: {error}") from error

    async def describe(self, draft: Draft) -> None:
        """Four questions apart from each other, then the summary."""
        questions = atomic_questions(await self._shown(draft))
        await self._ask_all(draft, self._vlm, questions)
        narrations = draft.job.narrations
        answer = await self._llm.ask(summary_question(draft.answers, draft.claims, narrations))
        draft.sentences["high"] = answer["sentence"]

    async def _ask_all(self, draft: Draft, client: ChatClient, questions: Mapping[str, Question]) -> None:
        """All at once; every answer that comes is kept, then the gravest of the errors is raised."""
        answers = await asyncio.gather(*map(client.ask, questions.values()), return_exceptions=True)
        for name, answer in zip(questions, answers, strict=True):
            if not isinstance(answer, BaseException):
                draft.answers[name] = answer
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        if failed:
            raise next((error for error in failed if not isinstance(error, QuestionError)), failed[0])

    async def choose(self, draft: Draft) -> None:
        """Words of the vocabulary, the fine sentence, and whether both captions agree with the frames."""
        atomic = {name: draft.answers[name] for name in atomic_questions(())}
        found = {kind: self._found(kind, said) for kind, said in _said(draft).items()}
        if not found["actions"]:
            raise QuestionError("choice: no action in the vocabulary")
        question = choice_question(atomic, draft.claims, draft.job.narrations, **found)
        draft.answers["choice"] = chosen = await self._llm.ask(question)
        fine = await self._llm.ask(fine_question(chosen, atomic, draft.claims))
        draft.sentences["fine"] = fine["sentence"]
        asked = verification_question(draft.sentences["high"], draft.sentences["fine"], await self._shown(draft))
        draft.answers["verification"] = await self._vlm.ask(asked)

    def _found(self, kind: str, said: Sequence[str]) -> list[str]:
        if self.retriever is None:
            raise RuntimeError("Expected a vocabulary before the second stage, got none.")
        names = self.retriever.candidates(kind, said, self._config.candidates)
        return names if kind != "roles" else list(dict.fromkeys([*names, *ALWAYS_ROLES]))


def _said(draft: Draft) -> dict[str, list[str]]:
    """What was said of the clip, kind by kind, in the form that the vocabulary's own words have."""
    answer = draft.answers["action_object"]
    parsed = [parse_narration(text) for text in (answer["action"], *draft.job.narrations)]
    roles = [draft.answers["hand_role"][side] for side in ("left", "right")]
    return {
        "actions": [n.verb for n in parsed if n.verb] or [answer["action"]],
        "objects": [*answer["objects"], *(thing for n in parsed for thing in n.objects)],
        "roles": [parse_narration(role).verb or role for role in roles],
    }
