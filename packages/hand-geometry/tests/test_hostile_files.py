"""Files that were made to break a reader: every value of a glTF, every line of a BVH, replaced by something absurd."""

from __future__ import annotations

import copy
import json
import struct
import time

import numpy as np
import pytest
from hand_geometry import export_motion, import_motion
from hand_geometry.errors import MotionFileError
from hypothesis import given, settings
from hypothesis import strategies as st

ABSURD = [None, True, -1, 0, 10**9, 10**30, 10**400, -0.5, 1e308, float("nan"), float("inf"), "", "x", [], {}, [[]]]


@pytest.fixture(scope="module")
def written(make_motion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return {s: export_motion(folder / f"a{s}", make_motion(2)).read_bytes() for s in (".glb", ".bvh")}


def glb(tree, binary: bytes) -> bytes:
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def parts(content: bytes):
    size = struct.unpack_from("<I", content, 12)[0]
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def places(tree, here=()):
    """Where each value of a tree stands."""
    found = [here] if here else []
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        found += places(value, (*here, key))
    return found


def read_or_named(path, content: bytes):
    path.write_bytes(content)
    started = time.process_time()
    try:
        motion = import_motion(path)
    except MotionFileError:
        return
    finally:
        assert time.process_time() - started < 5.0
    assert all(np.isfinite(motion[name]).all() for name in ("global_orient", "hand_pose", "transl", "betas"))
    assert 0 < motion["fps"] < np.inf


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_absurd_values_in_gltf_are_read_or_named(written, tmp_path_factory, data):
    tree, binary = parts(written[".glb"])
    tree.pop("meshes", None)
    for _ in range(data.draw(st.integers(1, 2))):
        *above, last = data.draw(st.sampled_from(places(tree)))
        parent = tree
        for key in above:
            parent = parent[key]
        parent[last] = copy.deepcopy(data.draw(st.sampled_from(ABSURD)))  # a later change may go into it
    read_or_named(tmp_path_factory.mktemp("absurd") / "a.glb", glb(tree, binary))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_cut_gltf_with_lengths_that_agree_is_read_or_named(written, tmp_path_factory, text_cut, binary_cut):
    tree, binary = parts(written[".glb"])
    text = json.dumps(tree).encode()
    cut = text[: text_cut % len(text)] if text_cut % 2 else text
    read_or_named(tmp_path_factory.mktemp("cut") / "a.glb", glb(cut, binary[: binary_cut % len(binary)]))


def test_a_small_gltf_cannot_ask_for_all_memory_or_time(written, tmp_path):
    tree, binary = parts(written[".glb"])
    extras = next(value for scene in tree["scenes"] for value in scene["extras"].values())
    extras["fps"] = 99_999.0
    keys = tree["accessors"][tree["animations"][0]["samplers"][0]["input"]]
    view = tree["bufferViews"][keys["bufferView"]]
    start = view.get("byteOffset", 0) + keys.get("byteOffset", 0)
    late = binary[:start] + struct.pack("<2f", 0, 9) + binary[start + 8 :]
    (tmp_path / "a.glb").write_bytes(glb(tree, late))
    with pytest.raises(MotionFileError, match="frames in a file of this size"):
        import_motion(tmp_path / "a.glb")
    tree["animations"][0]["channels"] *= 1000
    (tmp_path / "b.glb").write_bytes(glb(tree, binary))
    with pytest.raises(MotionFileError, match="one curve for each property"):
        import_motion(tmp_path / "b.glb")
    (tmp_path / "c.glb").write_bytes(glb(b"[" * 100_000, binary))
    with pytest.raises(MotionFileError, match=r"c\.glb"):
        import_motion(tmp_path / "c.glb")


WORDS = ["", "nan", "inf", "-1", "1e999", "9" * 400, "x", "\n", "}", "MOTION", "ROOT", "1e-320"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from(WORDS)), min_size=1, max_size=3))
def test_absurd_words_in_bvh_are_read_or_named(written, tmp_path_factory, changes):
    words = written[".bvh"].decode().split(" ")
    for at, word in changes:
        words[at % len(words)] = word
    read_or_named(tmp_path_factory.mktemp("absurd") / "a.bvh", " ".join(words).encode())


def test_a_bvh_of_many_joints_is_read_in_time_that_grows_with_it(written, tmp_path):
    head, tail = written[".bvh"].decode().split("MOTION")
    many = "".join(f"JOINT j{k}\n{{\nOFFSET 0 0 0\nCHANNELS 0\n}}\n" for k in range(60_000))
    read_or_named(tmp_path / "a.bvh", f"{head}{many}MOTION{tail}".encode())


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([".glb", ".bvh"]), st.integers(0, 10**9))
def test_cut_files_are_named(written, tmp_path_factory, suffix, cut):
    content = written[suffix]
    read_or_named(tmp_path_factory.mktemp("cut") / f"a{suffix}", content[: cut % len(content)])
