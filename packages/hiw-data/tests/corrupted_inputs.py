"""A thousand corrupted inputs, or any number of them, drawn by a seed; and one build over all of them, watched.

Kinds: files cut short, with flipped bits, empty, of a wrong type, with NaN or huge numbers, wrong shapes, false sizes;
pickles that would run something; zips that claim much or name paths; names that play tricks; links, folders and pipes
in place of files. A case is found again by its number, which stands in its name.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_geometry import features_to_joints
from hiw_data import HiwStore, KeypointSource, NpzSource, ProceduralSource, VideoSource, build, dataset_source
from hiw_data.annotation import AnnotationConfig
from hiw_data.cleaning import CleaningConfig


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


view, mano_files = _load("hands_in_view"), _load("mano_files")

FRAMES = 12
KINDS = ("video", "npz", "keypoints", "hawor", "wilor-mini", "arctic")
_SUFFIX = {"npz": ".npz", "hawor": ".pth", "wilor-mini": ".pkl", "arctic": ".npy"}
_CALLS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "pty.spawn")


class Runs:
    """Unpickled, it leaves a file behind: the sign that something was run."""

    def __init__(self, mark: Path, how: int) -> None:
        self.mark, self.how = mark, how

    def __reduce__(self) -> tuple[Any, ...]:
        text = f"open({str(self.mark)!r}, 'w').close()"
        calls = [
            (os.system, (f"touch '{self.mark}'",)),
            (eval, (text,)),
            (exec, (text,)),
            (open, (str(self.mark), "w")),
        ]
        return calls[self.how % len(calls)]


@dataclass
class Drawn:
    """What was written where.

    Attributes:
        folder: of all inputs, a folder a kind.
        mark: the file that appears if anything is run.
        cases: number of the case -> its kind and what was done to it.
    """

    folder: Path
    mark: Path
    cases: dict[str, tuple[str, str]] = field(default_factory=dict)


def draw(folder: Path, count: int, seed: int = 0) -> Drawn:
    """Writes so many corrupted inputs."""
    rng = np.random.default_rng(seed)
    drawn = Drawn(folder, folder.parent / "it-was-run")
    bases = {kind: _bases(kind, folder.parent / "bases") for kind in KINDS}
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        base, suffix = bases[kind][int(rng.integers(len(bases[kind])))]
        names = list(ATTACKS)
        what = names[(number // len(KINDS)) % len(names)]
        name, data = f"c{number:04d}", ATTACKS[what](base, rng, drawn.mark)
        path = _place(folder / kind, kind, name, suffix, what, rng)
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "a folder":
            path.mkdir()
        elif what == "a pipe":
            os.mkfifo(path)
        elif what == "a link":
            path.symlink_to(["/dev/zero", "nowhere", "/etc/passwd", path.name][int(rng.integers(4))])
        else:
            path.write_bytes(data)
        drawn.cases[name] = kind, what
    return drawn


def _place(folder: Path, kind: str, name: str, suffix: str, what: str, rng: np.random.Generator) -> Path:
    tricks = ["..{}", "-rf {}", "{};touch it", "$(touch it){}", "{}\nx", "{}\u202egpj", "{}#0", "%2e%2e%2f{}",
              "{}\udcff", "C:\\{}", "{}@0-1", "~{}", "{}" + "x" * 200]  # fmt: skip
    stem = tricks[int(rng.integers(len(tricks)))].format(name) if what == "a name" else name
    if kind == "hawor":
        return folder / stem / "world_space_res.pth"
    if kind == "arctic":
        return folder / "s01" / f"{stem}.mano.npy"
    return folder / f"{stem}{suffix}"


def _bases(kind: str, folder: Path) -> list[tuple[bytes, str]]:
    """Sound files of a kind."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "video":
        made = [("a.mp4", "libx264"), ("b.avi", "mpeg4"), ("c.mkv", "libx264")]
        return [
            (view.write_video(folder / n, frames=FRAMES * 2, codec=codec).read_bytes(), Path(n).suffix)
            for n, codec in made
        ]
    m = mano_files.random_motion(FRAMES, 2)
    if kind == "npz":
        stream = io.BytesIO()
        np.savez(stream, global_orient=m["orient"], hand_pose=m["pose"], transl=m["place"], fps=15.0,
                 captions=np.array(["hands move"]))  # fmt: skip
        return [(stream.getvalue(), ".npz")]
    if kind == "keypoints":
        clip = next(iter(ProceduralSource(clips=1, seed=3).stream(15.0)))
        joints = np.asarray(features_to_joints(clip["features"]))[:FRAMES]
        npy, npz = io.BytesIO(), io.BytesIO()
        np.save(npy, joints)
        np.savez(npz, keypoints=joints, fps=15.0)
        text = json.dumps({"keypoints": joints.round(4).tolist(), "fps": 15}).encode()
        return [(npy.getvalue(), ".npy"), (npz.getvalue(), ".npz"), (text, ".json")]
    if kind == "hawor":
        arrays = [
            m["place"].swapaxes(0, 1),
            m["orient"].swapaxes(0, 1),
            m["pose"].swapaxes(0, 1).reshape(2, FRAMES, 45),
        ]
        arrays += [np.zeros((2, FRAMES, 10)), np.ones((2, FRAMES))]
        return [(pickle.dumps([torch.tensor(a, dtype=torch.float32) for a in arrays]), ".pth")]
    if kind == "arctic":
        hand = {"rot": m["orient"][:, 0], "pose": m["pose"][:, 0].reshape(FRAMES, 45), "trans": m["place"][:, 0]}
        hand |= {"shape": np.zeros(10), "fitting_err": np.zeros(FRAMES)}
        return [(_object_npy({"left": hand, "right": hand}), ".npy")]
    hands = [{"hand_bbox": [1.0, 1.0, 9.0, 9.0], "is_right": 1.0, "wilor_preds": {
        "global_orient": rng.normal(size=(1, 1, 3)), "hand_pose": rng.normal(scale=0.2, size=(1, 15, 3)),
        "betas": np.zeros((1, 10)), "pred_cam_t_full": np.array([[0.0, 0.0, 0.5]])}}]  # fmt: skip
    return [(pickle.dumps([hands] * FRAMES), ".pkl")]


def _object_npy(value: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(value, dtype=object), allow_pickle=True)
    return stream.getvalue()


Attack = Callable[[bytes, np.random.Generator, Path], bytes]


def _cut(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    return data[: int(rng.integers(1, len(data)))]


def _flip(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    array = np.frombuffer(data, np.uint8).copy()
    at = rng.integers(0, len(array), int(rng.integers(1, 40)))
    array[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
    return array.tobytes()


def _flip_head(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    return _flip(data[:400], rng, mark) + data[400:]


def _empty(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    return b""


def _other_type(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    png = b"\x89PNG\r\n\x1a\n" + bytes(40)
    return [b"words, no data\n", png, b"%PDF-1.7\n", b"\x7fELF" + bytes(60), b"{}", b"[]", b"null", b"\xff\xfe\x00"][
        int(rng.integers(8))
    ]


def _noise(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    return rng.bytes(int(rng.integers(1, 5000)))


def _doubled(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + data[at // 2 :]


def _numbers(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    """NaN, infinities and huge numbers, in arrays of all shapes and types."""
    frames = int(rng.integers(0, 40))
    fills = (np.nan, np.inf, -np.inf, 1e300, 3e38, 1e-320, 1000.0)
    full = np.full((frames, 2, 3), fills[int(rng.integers(7))])
    shapes = {"global_orient": full, "hand_pose": np.zeros((frames, 2, 15, 3)), "transl": np.zeros((frames, 2, 3))}
    if rng.random() < 0.4:
        shapes["transl"] = np.array(["a"] * max(frames, 1)) if rng.random() < 0.5 else np.zeros((3, 3), complex)
    shapes["keypoints"] = full[:, :, None].repeat(21, 2)
    shapes["fps"] = np.array([np.nan, 0.0, -15.0, 1e9, np.inf])[int(rng.integers(5))]
    shapes["captions"] = np.array([["", "\x00", "x" * 100_000, "\u202e<script>"][int(rng.integers(4))]])
    stream = io.BytesIO()
    np.savez(stream, **shapes)
    return stream.getvalue()


def _pickle(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    how = int(rng.integers(8))
    value = [Runs(mark, how), [np.zeros(3), Runs(mark, how)], {"left": Runs(mark, how)}][int(rng.integers(3))]
    form = int(rng.integers(3))
    if form == 0:
        return pickle.dumps(value, protocol=int(rng.integers(6)))
    if form == 1:
        return _object_npy(value)
    stream = io.BytesIO()
    np.savez(stream, keypoints=np.array(value, dtype=object), global_orient=np.array(value, dtype=object))
    return stream.getvalue()


def _deep(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    """Nesting that is too deep for a recursive reader."""
    if rng.random() < 0.5:
        return b"[" * 100_000
    return b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b"."


def _claims(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    """An array that claims more than the file holds."""
    shape = [(10**12, 2, 21, 3), (2**62,), (-1, 3), (10**9, 10**9, 10**9)][int(rng.integers(4))]
    text = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).ljust(117).encode() + b"\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(100)
    if rng.random() < 0.5:
        return npy
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("keypoints", "global_orient", "hand_pose", "transl"):
            archive.writestr(f"{name}.npy", npy)
    return stream.getvalue()


@cache
def _zeros(megabytes: int) -> tuple[bytes, int]:
    """So many zeros as a zip holds them, deflated, and their CRC-32: made once a size, for it takes long."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts, crc, block = [], 0, bytes(10**6)
    for _ in range(megabytes):
        parts.append(packer.compress(block))
        crc = zlib.crc32(block, crc)
    return b"".join([*parts, packer.flush()]), crc


def _bomb(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    """A small zip of many zeros, and one whose directory lies about sizes."""
    entries, directory = b"", b""
    for stem in ("global_orient", "keypoints", "features"):
        name, megabytes = f"{stem}.npy".encode(), int(rng.integers(1, 30))
        deflated, crc = _zeros(megabytes)
        said = struct.pack("<5H3I2H", 20, 0, 8, 0, 33, crc, len(deflated), megabytes * 10**6, len(name), 0)
        directory += (
            b"PK\x01\x02" + struct.pack("<H", 20) + said + struct.pack("<3H2I", 0, 0, 0, 0, len(entries)) + name
        )
        entries += b"PK\x03\x04" + said + name + deflated
    end = struct.pack("<4H2IH", 0, 0, 3, 3, len(directory), len(entries), 0)
    raw = bytearray(entries + directory + b"PK\x05\x06" + end)
    if rng.random() < 0.5:
        struct.pack_into("<I", raw, raw.rfind(b"PK\x01\x02") + 24, int(rng.integers(2**32)))
    return bytes(raw)


def _paths(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    """A zip whose entries are named after places outside."""
    stream = io.BytesIO()
    names = ["../../it-was-run", str(mark), "..\\..\\x.npy", "a/../../b.npy", "/etc/x.npy", "keypoints.npy"]
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names[int(rng.integers(5)) :]:
            archive.writestr(name, data[:200])
    return stream.getvalue()


def _same(data: bytes, rng: np.random.Generator, mark: Path) -> bytes:
    return data


ATTACKS: dict[str, Attack] = {
    "cut short": _cut,
    "flipped bits": _flip,
    "flipped bits in the head": _flip_head,
    "a hostile pickle": _pickle,
    "empty": _empty,
    "another type": _other_type,
    "noise": _noise,
    "pieces twice": _doubled,
    "numbers that are none": _numbers,
    "too deep": _deep,
    "false sizes": _claims,
    "a zip bomb": _bomb,
    "paths in a zip": _paths,
    "a name": _same,
    "a folder": _same,
    "a pipe": _same,
    "a link": _same,
}


@dataclass
class Outcome:
    """What became of a build.

    Attributes:
        listed: cases that the report lists, with their reasons.
        used: cases that gave a clip: what was done to them hurt nothing that is read.
        lost: cases that are in neither.
        run: calls that started something, and the mark if it is there.
        outside: files that were opened for writing, or appeared, where nothing is to be written.
        changed: inputs that are no longer what they were.
    """

    store: HiwStore
    listed: dict[str, str]
    used: set[str]
    lost: set[str]
    run: list[str]
    outside: list[str]
    changed: list[str]


def build_watched(drawn: Drawn, out: Path) -> Outcome:
    """Builds one store of all of them and of four sound clips, and watches what it does."""
    config = AnnotationConfig(variants=1, cleaning=CleaningConfig(duplicate=0.0, most_z=float("inf")))
    tracker = view.ScriptedTracker(lambda time: [view.hand(1, 15 + 8 * np.sin(4 * time), 10, 24)])
    mano = mano_files.write_mano(drawn.folder.parent / "mano")
    sources: list[Any] = [ProceduralSource(clips=4)]
    there = [kind for kind in KINDS if (drawn.folder / kind).is_dir()]
    for kind in there:
        folder = drawn.folder / kind
        if kind == "video":
            sources.append(VideoSource(folder, tracker=tracker, config=config, work=out.with_name("work")))
        elif kind == "npz":
            sources.append(NpzSource(folder))
        elif kind == "keypoints":
            sources.append(KeypointSource(folder, config=config))
        else:
            sources.append(dataset_source(kind, folder, mano=mano, workers=0))
    before, inputs = _tree(drawn.folder.parent), _contents(drawn.folder)
    run, opened = [], []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching:
            return
        if event in _CALLS:
            run.append(f"{event} {arguments[:1]!r}"[:200])
        elif event == "open" and isinstance(arguments[0], str | bytes) and len(arguments) > 2:
            flags = arguments[2]
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                opened.append(os.path.abspath(os.fsdecode(arguments[0])))

    sys.addaudithook(hook)  # it stays; `watching` ends it
    try:
        store = build(sources, out)
    finally:
        watching = False
    own = (str(out.parent) + os.sep, "/dev/null")
    appeared = {p for p in _tree(drawn.folder.parent) - before if not p.startswith(str(out.parent))}
    if drawn.mark.exists():
        run.append(str(drawn.mark))
    skipped = [(row["clip_id"], row["reason"]) for row in store.summary()["skipped"]["clips"]]
    made = [f"{row['clip_id']} {row['origin']}" for row in store.metadata]
    listed = {name: reason for name in drawn.cases for clip_id, reason in skipped if name in clip_id}
    used = {name for name in drawn.cases if any(name in text for text in made)}
    compiled = {p for p in opened if "__pycache__" in p}  # Numba's check, on import, that it may keep its code there
    outside = sorted(appeared | {p for p in opened if not p.startswith(own)} - compiled)
    after = _contents(drawn.folder)
    changed = [path for path, was in inputs.items() if after.get(path) != was]
    return Outcome(store, listed, used, set(drawn.cases) - set(listed) - used, run, outside, changed)


def _tree(folder: Path) -> set[str]:
    return {str(Path(root) / name) for root, _, names in os.walk(folder) for name in names}


def _contents(folder: Path) -> dict[str, bytes]:
    return {p: Path(p).read_bytes() for p in _tree(folder) if Path(p).is_file() and not Path(p).is_symlink()}
