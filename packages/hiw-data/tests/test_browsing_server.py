"""The server of a store's page: what it tells, what it finds, and what it refuses."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from hand_geometry import features_to_joints
from hiw_data import HiwStore, OptionError
from hiw_data.browsing.index import ClipIndex, ClipQuery
from hiw_data.browsing.server import BrowseServer
from hiw_data.store.writer import StoreWriter

VIDEO = bytes(range(256)) * 4000
SECRET = b"not to be sent"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, make_clip: Any) -> Iterator[BrowseServer]:
    """Five clips; videos/ holds the video of the first, a link out of it, and a text file."""
    folder = tmp_path_factory.mktemp("browse")
    (folder / "videos" / "deep").mkdir(parents=True)
    (folder / "videos" / "deep" / "a.mp4").write_bytes(VIDEO)
    (folder / "videos" / "notes.txt").write_bytes(SECRET)
    (folder / "secret.mp4").write_bytes(SECRET)
    (folder / "videos" / "link.mp4").symlink_to(folder / "secret.mp4")
    valid = np.ones((8, 2), bool)
    valid[:6, 0] = False
    unseen = np.zeros((8, 2), bool)
    unseen[:2, 1] = True
    clips = [
        make_clip("made/ä 1%2F?", attributes={"file": "a.mp4"}, captions=["The right hand WAVES", "it waves twice"]),
        make_clip("b", seed=1, valid=valid, attributes={"file": "../secret.mp4"}, split="val"),
        make_clip("c", seed=2, valid=unseen, attributes={"file": "link.mp4"}, source="other"),
        make_clip("d", seed=3, attributes={"file": str(folder / "secret.mp4")}),
        make_clip("e", seed=4, attributes={"file": "notes.txt"}, frames=20),
    ]
    with StoreWriter(folder / "s.zarr", fps=15, key="k", shard_frames=32) as writer:
        for clip in clips:
            writer.append(clip)
        writer.publish({"notes": ["a note"], "skipped": {"count": 0, "clips": []}, "sources": {}})
    with BrowseServer(HiwStore.open(folder / "s.zarr"), folder / "videos") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


Ask = Callable[..., tuple[int, Any, bytes]]


@pytest.fixture
def ask(served: BrowseServer) -> Ask:
    def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", served.server_address[1], timeout=20)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    return ask


def listed(ask: Ask, **parameters: object) -> list[str]:
    status, _, body = ask("/api/clips?" + urlencode(parameters))
    assert status == 200, body
    return [clip["id"] for clip in json.loads(body)["clips"]]


def test_statistics_are_those_of_the_store(ask: Ask) -> None:
    stats = json.loads(ask("/api/stats")[2])
    assert (stats["clips"], stats["frames"], stats["fps"], stats["shards"]) == (5, 52, 15.0, 2)
    assert stats["length"] == {"least": 8, "median": 8, "most": 20}
    assert stats["sources"] == {"made": {"train": 3, "val": 1}, "other": {"train": 1}}
    assert stats["notes"] == ["a note"]
    hands = json.loads(ask("/api/stats?features=true")[2])["hands"]
    assert (hands["left"]["frames"], hands["right"]["frames"]) == (8 + 2 + 0 + 8 + 20, 8 + 8 + 2 + 8 + 20)


def test_clips_are_found_by_word_source_split_and_quality(ask: Ask) -> None:
    assert len(listed(ask)) == 5
    assert listed(ask, words="waves RIGHT") == ["made/ä 1%2F?"]
    assert listed(ask, words="waves left") == []
    assert listed(ask, words="Ä") == ["made/ä 1%2F?"]
    assert listed(ask, source="other") == ["c"]
    assert listed(ask, split="val") == ["b"]
    assert listed(ask, seen=0.3) == ["made/ä 1%2F?", "b", "d", "e"]
    assert listed(ask, seen=0.25, hand="left") == ["made/ä 1%2F?", "b", "d", "e"]
    assert listed(ask, seen=0.26, hand="both") == ["made/ä 1%2F?", "d", "e"]
    assert listed(ask, offset=1, limit=2) == ["b", "c"]
    page = json.loads(ask("/api/clips?offset=2&limit=1")[2])
    assert page["total"] == 5
    assert page["clips"][0]["seen"] == {"any": 0.25, "left": 0.0, "right": 0.25, "both": 0.0}


def test_to_list_clips_reads_the_frames_of_no_others(served: BrowseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    read_valid = served.store.read_valid
    monkeypatch.setattr(served.store, "read_valid", lambda position: read.append(position) or read_valid(position))
    index = ClipIndex(served.store)
    listed = index.page(ClipQuery(), 1, 3)["clips"]
    assert read == [1, 2, 3]
    index.find(ClipQuery(seen=0.5))
    assert index.page(ClipQuery(), 1, 3)["clips"] == listed
    assert read == [1, 2, 3]


def test_a_word_is_looked_for_once(served: BrowseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    index, asked = ClipIndex(served.store), []
    batches = served.store.batches
    monkeypatch.setattr(served.store, "batches", lambda: asked.append(1) or batches())
    found = [index.find(ClipQuery(words=words)).tolist() for words in ("waves", "waves twice", "twice")]
    assert len(asked) == 2
    assert found[1] == sorted(set(found[0]) & set(found[2])) == [0]


def test_a_clip_comes_with_joints_claims_and_codes(ask: Ask, served: BrowseServer) -> None:
    clip = json.loads(ask("/api/clips/" + quote("made/ä 1%2F?", safe=""))[2])
    joints = np.frombuffer(base64.b64decode(clip["joints"]), "<f4").reshape(-1, 2, 21, 3)
    np.testing.assert_array_equal(joints, features_to_joints(served.store.clip(0)["features"]))
    assert clip["valid"] == ["11111111"] * 2
    assert [c["text"] for c in clip["captions"]] == ["The right hand WAVES", "it waves twice"]
    assert {claim["status"] for c in clip["captions"] for claim in c["claims"]} <= {
        "supported",
        "contradicted",
        "not measurable",
    }
    assert clip["captions"][0]["claims"]
    assert clip["video"] is True
    spans = [span for lane in clip["timeline"] for span in lane["spans"]]
    assert spans
    assert all(0 <= span["start"] <= span["end"] <= 8 / 15 + 1e-3 for span in spans)
    assert json.loads(ask("/api/clips/b")[2])["valid"] == ["00000011", "11111111"]


def test_a_clip_comes_as_hands_that_move(ask: Ask) -> None:
    for name, hands in (("made/ä 1%2F?", {"left", "right"}), ("c", {"right"})):  # of c the left hand is never seen
        status, headers, body = ask("/motion/" + quote(name, safe=""))
        assert (status, headers["Content-Type"]) == (200, "model/gltf-binary")
        length = int.from_bytes(body[12:16], "little")
        tree = json.loads(body[20 : 20 + length])
        assert {skin["name"].split("_")[0] for skin in tree["skins"]} == hands
    assert tree["scenes"][0]["extras"]["hand_geometry"]["unseen"] == {"right": [[2, 8]]}


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/", "text/html", b"<title>hiw browse</title>"),
        ("/page.css", "text/css", b"prefers-color-scheme"),
        ("/page.js", "text/javascript", b"window.browse"),
        ("/clip.js", "text/javascript", b"window.clipParts"),
        ("/player.js", "text/javascript", b"window.makePlayer"),
        ("/scene.js", "text/javascript", b"window.makeScene"),
        ("/three.min.js", "text/javascript", b"THREE"),
    ],
)
def test_the_page_and_what_it_is_made_of_are_sent(ask: Ask, path: str, kind: str, words: bytes) -> None:
    status, headers, body = ask(path)
    assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
    assert words in body
    assert "script-src 'self'; style-src 'self'" in headers["Content-Security-Policy"]


def test_a_video_is_sent_whole_and_by_parts(ask: Ask) -> None:
    path = "/video/" + quote("made/ä 1%2F?", safe="")
    status, headers, body = ask(path)
    assert (status, body, headers["Content-Type"], headers["Accept-Ranges"]) == (200, VIDEO, "video/mp4", "bytes")
    status, headers, body = ask(path, Range="bytes=1000-300999")
    assert (status, body) == (206, VIDEO[1000:301000])
    assert headers["Content-Range"] == f"bytes 1000-300999/{len(VIDEO)}"
    status, headers, _ = ask(path, Range=f"bytes={len(VIDEO)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(VIDEO)}")
    status, headers, body = ask(path, "HEAD")
    assert (status, int(headers["Content-Length"]), body) == (200, len(VIDEO), b"")


@pytest.mark.parametrize("clip", ["b", "c", "d", "e"])
def test_no_file_outside_the_folder_and_none_but_videos_is_sent(ask: Ask, clip: str) -> None:
    status, _, body = ask(f"/video/{clip}")
    assert status == 404
    assert SECRET not in body


@pytest.mark.parametrize(
    "query",
    [
        "seen=nan", "seen=2", "seen=-0.1", "seen=x", "hand=third", "source=nowhere", "split=all", "offset=-1",
        "offset=1e3", "limit=0", "limit=201", "limit=99999999999999999999", "limit=٣", "colour=red",
        "words=" + "a" * 201, "seen=0.1&seen=0.2", "words=%ff", "words", "&".join(f"a{k}=1" for k in range(30)),
    ],
)  # fmt: skip
def test_parameters_that_are_not_understood_are_refused_with_a_reason(ask: Ask, query: str) -> None:
    status, _, body = ask("/api/clips?" + quote(query, safe="=&%"))
    assert status == 400
    assert json.loads(body)["error"].startswith(("Expected", "seen:", "hand:", "offset:", "limit:", "words:"))
    assert ask("/api/stats?features=maybe")[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        "/nothing", "/index.html", "/page", "/page/", "/api", "/motion/", "/motion/nobody",
        "/api/clips/", "/api/clips/nobody", "/video/nobody", "/page/index.html",
        "/../server.py", "/page.js/../../server.py",
        "/video/..%2F..%2Fsecret.mp4", "/video//etc/passwd", "/%2e%2e/server.py",
        "/video/a.mp4", "/api/clips/b%00",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(ask: Ask, path: str) -> None:
    status, headers, body = ask(path)
    assert status == 404
    assert headers["Content-Type"].startswith("application/json")
    assert SECRET not in body


def test_requests_meant_for_others_are_refused(ask: Ask) -> None:
    for host in ("evil.example", "evil.example:80", "127.0.0.1:1", ""):
        for path in ("/api/stats", "/api/clips", "/video/b"):
            assert ask(path, Host=host)[0] == 403
    assert ask("/api/clips/%ff")[0] == 400
    assert ask("/api/stats", "POST")[0] == 501


def test_answers_may_be_used_by_this_page_alone(ask: Ask) -> None:
    for path in ("/api/stats", "/nothing"):
        headers = ask(path)[1]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def test_a_folder_or_port_that_is_not_there_is_named(served: BrowseServer, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="folder of videos"):
        BrowseServer(served.store, tmp_path / "none")
    with pytest.raises(OptionError, match="another --port"):
        BrowseServer(served.store, port=served.server_address[1])
