"""The list `data.sources` becomes sources; what does not fit is refused with what to write."""

from pathlib import Path

import numpy as np
import pytest
from hiw_data import BuildConfig, FingerspellingSource, HiwDataError, NpzSource, ProceduralSource
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from pipelines.data import build_store, make_sources

ROOT = Path(__file__).parents[1]


def write_clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        global_orient=np.zeros((20, 2, 3)),
        hand_pose=np.zeros((20, 2, 15, 3)),
        transl=np.zeros((20, 2, 3)),
        fps=15,
        captions=np.array(["two flat hands"]),
    )


def sources(environment: str) -> list:
    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env=environment) as session:
        return session.load_context().params["data"]["sources"]


def test_every_environment_lists_its_own_sources():
    assert [entry["type"] for entry in sources("base")] == ["fingerspelling", "procedural"]
    scripted = {"type": "procedural", "clips": 200, "paraphrases": 2}
    assert sources("test") == [{"type": "fingerspelling", "limit": 90}, scripted]
    assert sources("paper") == [{"type": "npz", "folder": str(ROOT / "data/raw")}]


def test_entries_become_sources_with_their_options_and_names():
    first, second = make_sources(
        [{"type": "procedural", "clips": 7, "seed": 3}, {"type": "procedural", "name": "more"}]
    )
    assert isinstance(first, ProceduralSource)
    assert (first.name, first.clips, first.seed) == ("procedural", 7, 3)
    assert (second.name, second.clips) == ("more", 2500)


def test_the_old_mapping_is_refused_and_the_list_to_write_is_shown():
    with pytest.raises(HiwDataError) as error:
        make_sources({"fingerspelling": None, "npz": {"folder": "my_clips"}})
    assert "sources:\n- type: npz\n  folder: my_clips\n" in str(error.value)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "a list of sources, at least one"),
        (None, "a list of sources"),
        (["procedural"], "entries with a type among"),
        ([{"type": "film"}], "entries with a type among"),
        ([{"type": "procedural", "clip": 3}], "options that the source 'procedural' has"),
        ([{"type": "procedural", "clips": 0}], "clips >= 1"),
    ],
)
def test_what_is_no_source_is_one_clear_error(entries, words):
    with pytest.raises(HiwDataError, match=words):
        make_sources(entries)


def test_a_store_is_built_from_the_listed_folder_and_replaced_when_built_again(tmp_path):
    write_clip(tmp_path / "my_clips/a.npz")
    (tmp_path / "groups.csv").write_text("clip,group\na,me\n")
    entries = [{"type": "npz", "folder": str(tmp_path / "my_clips"), "groups": str(tmp_path / "groups.csv")}]
    (source,) = make_sources(entries)
    assert isinstance(source, NpzSource)
    assert source.groups == {"a": "me"}
    for _ in range(2):  # the pipeline replaces its own output
        store = build_store(entries, BuildConfig(), str(tmp_path / "data/hiw.zarr"))
    assert store.path == tmp_path / "data/hiw.zarr"


def test_the_demo_holds_out_combinations_and_languages():
    spelled, scripted = make_sources(sources("base"))
    assert isinstance(spelled, FingerspellingSource)
    assert spelled.held_out == {"bzs": "val", "mfs": "test", "tsm": "test"}
    assert isinstance(scripted, ProceduralSource)
    assert scripted.hold_out
