"""Ray's engine: the same store as the local one, a lost worker, a video that kills its workers, on again, no ray."""

from __future__ import annotations

import builtins
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("ray")
from hiw_data import HiwStore, OptionError, SourceError, annotate
from hiw_data.annotation import AnnotationConfig
from hiw_data.cleaning import CleaningConfig
from hiw_data.engine import Done, Job, LocalEngine, Timings, engine_of
from hiw_data.engine.ray_data import RayEngine
from hiw_data.sources.cuts import Cut

_SPEC = importlib.util.spec_from_file_location("hands_in_view", Path(__file__).parent / "hands_in_view.py")
view = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(view)

CONFIG = AnnotationConfig(variants=1, cleaning=CleaningConfig(duplicate=0.0))


def waving(time):
    return [view.hand(1, 15 + 8 * np.sin(4 * time), 10, 24)]


class WatchedTracker(view.ScriptedTracker):
    """Leaves a line in a file for each video that it begins; dies on pictures of a width, once or always.

    A driver, given by its process, is killed before.
    """

    def __init__(self, log: Path, dies_at: int = 0, always: bool = False, driver: int = 0):
        super().__init__(waving)
        self.log, self.dies_at, self.always, self.driver = log, dies_at, always, driver

    def track(self, frames):
        first = next(iter(frames))
        width = first.image.shape[1]
        with open(self.log, "a") as file:
            file.write(f"{width} {os.getpid()}\n")
        tries = sum(line.startswith(f"{width} ") for line in self.log.read_text().splitlines())
        if width == self.dies_at and (self.always or tries == 1):
            if self.driver:
                os.kill(self.driver, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().track([first, *frames])

    def begun(self):
        return [int(line.split()[0]) for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One small Ray for all tests; trackers of this file travel by value."""
    import warnings

    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=80 * 2**20,
        )
        for module in (view, sys.modules[__name__]):
            sys.modules.setdefault(module.__name__, module)
            ray.cloudpickle.register_pickle_by_value(module)
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for name, width in (("a", 64), ("b", 80), ("c", 96), ("d", 112)):
        view.write_video(folder / f"{name}.mp4", frames=30, size=(width, 48))
    (folder / "e.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def local(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    return annotate(videos, folder / "out.zarr", CONFIG, tracker=WatchedTracker(folder / "log"))


def same(one: HiwStore, other: HiwStore) -> bool:
    skipped = [store.summary()["skipped"]["clips"] for store in (one, other)]
    return one.data_hash == other.data_hash and skipped[0] == skipped[1]


def test_the_store_is_that_of_the_local_engine(videos, local, tmp_path):
    timings = Timings()
    tracker = WatchedTracker(tmp_path / "log")
    options = {"engine": "ray", "workers": 2, "timings": timings, "keep_work": True}
    store = annotate(videos, tmp_path / "out.zarr", CONFIG, tracker=tracker, **options)
    assert len(store) == 4
    assert same(store, local)
    assert sorted(tracker.begun()) == [64, 80, 96, 112]
    assert os.getpid() not in {int(line.split()[1]) for line in tracker.log.read_text().splitlines()}
    assert timings.minutes == pytest.approx(4 / 60)
    assert timings.frames == 120
    assert all(timings.per_minute(stage)[0] > 0 for stage in ("read", "track", "fit", "words and store"))
    assert not (tmp_path / "out.zarr.work" / "in-hand").exists()
    again = annotate(videos, tmp_path / "out.zarr", CONFIG, tracker=tracker, overwrite=True, engine="ray", workers=2)
    assert same(again, local)
    assert len(tracker.begun()) == 4  # all of it was in the work folder


def test_a_worker_that_is_killed_costs_the_clip_in_hand_alone_which_is_tried_again(videos, local, tmp_path):
    tracker = WatchedTracker(tmp_path / "log", dies_at=80)
    store = annotate(videos, tmp_path / "out.zarr", CONFIG, tracker=tracker, engine="ray", workers=2)
    assert same(store, local)
    assert sorted(tracker.begun()) == [64, 80, 80, 96, 112]


DRIVER = """
import sys, warnings
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import test_engine_ray as own

warnings.simplefilter("ignore")
import ray

for module in (own.view, own):
    sys.modules.setdefault(module.__name__, module)
    ray.cloudpickle.register_pickle_by_value(module)
folder = Path(sys.argv[3])
tracker = own.WatchedTracker(folder / "log", dies_at=96, driver=own.os.getpid())
own.annotate(sys.argv[2], folder / "out.zarr", own.CONFIG, tracker=tracker, engine="ray", workers=1)
"""


def test_a_driver_that_is_killed_goes_on_with_what_its_workers_had_done(videos, local, tmp_path):
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(videos), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    tracker = WatchedTracker(tmp_path / "log")
    assert tracker.begun() == [64, 80, 96]
    assert not (tmp_path / "out.zarr").exists()
    store = annotate(videos, tmp_path / "out.zarr", CONFIG, tracker=tracker, engine="ray", workers=2)
    assert same(store, local)
    assert sorted(tracker.begun()) == [64, 80, 96, 96, 112]
    assert not (tmp_path / "out.zarr.work").exists()


def test_a_video_that_kills_every_worker_is_listed_and_the_others_are_there(videos, local, tmp_path):
    tracker = WatchedTracker(tmp_path / "log", dies_at=80, always=True)
    store = annotate(videos, tmp_path / "out.zarr", CONFIG, tracker=tracker, engine="ray", workers=2)
    assert [row["clip_id"] for row in store.metadata] == ["video/a", "video/c", "video/d"]
    reasons = {row["clip_id"]: row["reason"] for row in store.summary()["skipped"]["clips"]}
    assert "its process died on this video" in reasons["video/b"]
    assert sorted(tracker.begun()) == [64, 80, 80, 96, 112]
    hashes = {row["clip_id"]: row["attributes"]["file_sha256"] for row in local.metadata}
    assert all(hashes[row["clip_id"]] == row["attributes"]["file_sha256"] for row in store.metadata)


def test_options_that_make_no_sense():
    for arguments in ({"workers": -1}, {"cpus": 0}, {"gpus": -1}, {"tries": 0}):
        with pytest.raises(OptionError, match="Expected workers"):
            RayEngine(**arguments)
    with pytest.raises(OptionError, match="--engine ray"):
        engine_of("local", 1, "auto")
    with pytest.raises(OptionError, match="an engine of local, ray"):
        engine_of("dask")
    with pytest.raises(OptionError, match="workers >= 1"):
        engine_of("local", 0)
    mine = LocalEngine(1)
    assert engine_of(mine) is mine


def test_ray_is_an_extra_and_its_lack_is_one_line(monkeypatch):
    found = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "ray":
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SourceError, match=r"pip install 'hiw-data\[ray\]'"):
        engine_of("ray")


def test_an_address_where_nobody_is_says_so_at_once(tmp_path, monkeypatch):
    import socket

    import ray

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    view.write_video(tmp_path / "a.mp4", frames=10)
    with pytest.raises(SourceError, match=rf"Expected Ray at {address}, got: .*refused"):
        annotate(tmp_path, tmp_path / "o.zarr", tracker=view.ScriptedTracker(waving), engine="ray", ray_address=address)
    assert not (tmp_path / "o.zarr").exists()


def test_jobs_and_results_travel_as_text():
    for end in (2.5, float("inf")):
        job = Job(Path("a/ä.mp4"), "a/ä@1-2", Cut("ä.mp4", 1.0, end, "waves", 3))
        assert Job.from_json(job.to_json()) == job
    done = Done(True, "", "cut short", "00", False, {"read": (0.1, 0.2)}, 3.0, 90)
    assert Done.from_json(done.to_json()) == done


def test_hours_are_those_of_shared_and_of_lonely_work():
    timings = Timings(minutes=2.0, frames=3600)
    for stage, seconds in (("read", 10.0), ("track", 100.0), ("fit", 10.0), ("words and store", 2.0)):
        timings.add_stage(stage, seconds * 2, seconds)
    assert timings.per_minute("track") == (100.0, 50.0)
    assert timings.hours(600, 1) == pytest.approx((60 * 600 + 600) / 3600)
    assert timings.hours(600, 10) == pytest.approx((60 * 60 + 600) / 3600)
    assert timings.hours(600, 1000, longest=5) == pytest.approx((60 * 5 + 600) / 3600)
    assert "track" in "\n".join(timings.lines())
    assert "nothing was measured" in Timings().lines()[0]
