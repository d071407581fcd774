"""What an engine is: anything that does jobs somewhere, and loses one at most when a worker is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from hiw_data.engine.annotator import Annotator, Done, Job
from hiw_data.errors import OptionError

ENGINES = ("local", "ray")


@runtime_checkable
class Engine(Protocol):
    """Anything that does jobs; implement these members to use a scheduler of your own."""

    name: str

    def run(self, annotator: Annotator, jobs: Sequence[Job]) -> Iterator[tuple[int, Done]]:
        """Does each job once, and yields its number and what became of it, in any order.

        A worker that dies costs no other job than the one in hand, which is tried again; one that dies again is
        listed as a job without a result.

        Raises:
            SourceError: the engine cannot be had at all.
        """
        ...


def engine_of(engine: str | Engine, workers: int = 1, ray_address: str | None = None) -> Engine:
    """An engine by its name.

    Args:
        engine: "local", "ray", or an engine, which is given back as it is.
        workers: processes that annotate, each one video at a time. With Ray on a cluster 0 takes as many as it has
            processors.
        ray_address: of a cluster that is there, such as "auto" or "host:6379"; None starts Ray on this machine.

    Raises:
        OptionError: no such engine, or options that do not go together.
        SourceError: ray is not installed.
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise OptionError(f"Expected an engine of {', '.join(ENGINES)}, got {engine!r}.")
    if engine == "local":
        from hiw_data.engine.local import LocalEngine

        if ray_address is not None:
            raise OptionError("Expected the engine ray with the address of a Ray cluster, got local. Say --engine ray.")
        return LocalEngine(workers)
    from hiw_data.engine.ray_data import RayEngine

    return RayEngine(ray_address, workers=workers)
