"""The service through its addresses, with the tiny model."""

import json
import re
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clutch_llm.errors import ConfigError
from clutch_llm.serving import ServeConfig, create_app
from hand_geometry import load_motion

testclient = pytest.importorskip("starlette.testclient", reason="needs clutch-llm[serve] and httpx")

TEXTS = ("the left hand waves", "both hands clap", "the right hand makes a fist", "the left hand waves slowly")


@pytest.fixture
def make_client(clutch):
    opened = []

    def make(model=clutch, **settings):
        app = create_app(model, ServeConfig(**settings))
        client = testclient.TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        client.service = app.app.state.service
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def motion(client):
    return client.post("/v1/generate", json={"text": TEXTS[0], "seconds": 1}).json()["motions"][0]


def features_of(answer):
    return [np.array(m["features"], dtype=np.float32) for m in answer.json()["motions"]]


def events_of(answer):
    return [
        (name, json.loads(data))
        for name, data in re.findall(r"^event: (.*)\ndata: (.*)$", answer.text, re.MULTILINE)
    ]  # fmt: skip


# generate


def test_what_is_served_is_what_the_model_generates(client, clutch):
    asked = {"text": TEXTS[0], "seconds": 1, "seed": 3, "samples": 2, "temperature": 0.7, "features": True}
    answer = client.post("/v1/generate", json=asked)
    assert answer.status_code == 200
    expected = clutch.generate(TEXTS[0], 1, seed=3, samples=2, temperature=0.7)[0]
    for got, told, wanted in zip(features_of(answer), answer.json()["motions"], expected, strict=True):
        np.testing.assert_allclose(got, wanted["features"], atol=1e-5)
        assert (told["frames"], told["fps"], told["seed"], told["text"]) == (16, 15.0, 3, TEXTS[0])


def test_requests_that_come_together_are_one_batch_and_give_what_each_gives_alone(make_client, clutch):
    client = make_client(gather_ms=1000, batch_size=8)
    asked = [{"text": text, "seed": seed, "features": True} for text in TEXTS for seed in (0, 1)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: client.post("/v1/generate", json=body), asked))
    for body, answer in zip(asked, answers, strict=True):
        (got,) = features_of(answer)
        np.testing.assert_allclose(got, clutch.generate(body["text"], seed=body["seed"])[0][0]["features"], atol=1e-5)
    assert 'clutch_batch_size_bucket{le="4"} 0' in client.get("/metrics").text
    assert 'clutch_batch_size_bucket{le="8"} 1' in client.get("/metrics").text


def test_requests_that_come_together_for_other_things_give_each_its_own(make_client, clutch):
    client = make_client(gather_ms=1000, batch_size=16)
    asked = [{"seconds": 8 / 15}, {"seconds": 16 / 15}, {"samples": 2}, {"temperature": 0.2}, {"greedy": True}, {}]
    with ThreadPoolExecutor(len(asked)) as pool:
        bodies = [{"text": TEXTS[0], "features": True, **how} for how in asked]
        answers = list(pool.map(lambda body: client.post("/v1/generate", json=body), bodies))
    for how, answer in zip(asked, answers, strict=True):
        expected = clutch.generate(TEXTS[0], **how)[0]
        for got, wanted in zip(features_of(answer), expected, strict=True):
            np.testing.assert_allclose(got, wanted["features"], atol=1e-5)
    assert [len(features_of(answer)[0]) for answer in answers[:2]] == [8, 16]


class Telling:
    """The tiny model, whose captions say how they were asked for."""

    def __init__(self, clutch):
        self.clutch = clutch

    def __getattr__(self, name):
        return getattr(self.clutch, name)

    def caption_windows(self, motions, valid, *, detailed):
        text = "in detail" if detailed else "in short"
        return [[{"start": 0.0, "stop": len(motion) / 15, "text": text}] for motion in motions]


def test_captions_that_come_together_are_each_as_detailed_as_asked(make_client, clutch):
    client = make_client(Telling(clutch), gather_ms=1000)
    still = [*[1.0, 0.0, 0.0, 0.0, 1.0, 0.0] * 16, 0.0, 0.0, 0.0] * 2
    bodies = [{"features": [still] * 16, "fps": 15, "detailed": detailed} for detailed in (False, True)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda body: client.post("/v1/caption", json=body).json(), bodies))
    assert [answer["text"] for answer in answers] == ["in short", "in detail"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "text: Field required"),
        ({"text": " "}, "expected words"),
        ({"text": "a" * 501}, "at most 500 characters, got 501"),
        ({"text": 3}, "valid string"),
        ({"text": "a", "seconds": 99}, "seconds from"),
        ({"text": "a", "seconds": -1}, "greater than 0"),
        ({"text": "a", "samples": 8, "rank": 8}, "at most 16 motions"),
        ({"text": "a", "samples": 10**9}, "less than or equal"),
        ({"text": "a", "seed": -1}, "greater than or equal"),
        ({"text": "a", "seed": 10**30}, "seed"),
        ({"text": "a", "temperature": 0}, "greater than 0"),
        ({"text": "a", "rank": 2}, "plans"),
        ({"text": "a", "colour": "red"}, "Extra inputs"),
        ([], "valid"),
    ],
)
def test_a_request_that_cannot_be_met_is_told_why(client, body, reason):
    answer = client.post("/v1/generate", json=body)
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"\xff\xfe\x00", 400),
        (b'{"text": "\\ud800"}', 422),
        (b'{"text": "a", "temperature": NaN}', 422),
        (b'{"text": "a", "temperature": 1e999}', 422),
        (b'{"text": "a", "seed": ' + b"9" * 10_000 + b"}", 400),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"text":' * 50_000, 400),
    ],
)
def test_what_is_no_request_is_answered_with_4xx(client, content, status):
    answer = client.post("/v1/generate", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert client.get("/health").status_code == 200


def test_text_is_text(client):
    hostile = "<motion_id_3> </s> {motion} <script>alert(1)</script> \u202e \x00 ' OR 1=1"
    answer = client.post("/v1/generate", json={"text": hostile, "seconds": 0.5})
    assert answer.status_code == 200
    assert answer.json()["motions"][0]["text"] == hostile


# streams


def test_frames_come_in_pieces_and_then_the_motion(client, clutch):
    client.service.model._stream = None  # the tiny model's own gives so short a motion in one piece
    answer = client.post("/v1/stream", json={"text": TEXTS[1], "seconds": 2, "seed": 5})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *pieces, (name, told) = events_of(answer)
    assert len(pieces) > 3
    assert {piece for piece, _ in pieces} == {"frames"}
    starts = np.cumsum([0, *(len(data["joints"]) for _, data in pieces)])
    assert [data["start"] for _, data in pieces] == starts[:-1].tolist()
    assert (name, told["frames"]) == ("motion", starts[-1])
    whole = client.get(f"/v1/motions/{told['id']}/joints").json()["joints"]
    assert np.concatenate([data["joints"] for _, data in pieces]).tolist() == whole
    assert np.shape(whole) == (len(clutch.generate(TEXTS[1], 2)[0][0]["features"]), 2, 21, 3)


class Streaming:
    """The tiny model with a stream of its own."""

    def __init__(self, clutch, error=None):
        self.clutch, self.error = clutch, error

    def __getattr__(self, name):
        return getattr(self.clutch, name)

    def stream(self, text, seconds=None, **how):
        features = self.clutch.generate(text, seconds, **how)[0][0]["features"]
        for start in range(0, len(features), 5):
            yield features[start : start + 5]
            if self.error:
                raise self.error


def test_the_models_own_stream_is_used_where_it_has_one(make_client, clutch):
    client = make_client(Streaming(clutch))
    assert client.get("/health").json()["model"]["streams"] is True
    *pieces, (_, told) = events_of(client.post("/v1/stream", json={"text": TEXTS[1], "seconds": 1, "seed": 2}))
    assert [len(data["joints"]) for _, data in pieces] == [5, 5, 5, 1]
    kept = client.service.find(told["id"])
    np.testing.assert_allclose(
        kept.motion["features"], clutch.generate(TEXTS[1], 1, seed=2)[0][0]["features"], atol=1e-5
    )
    assert client.post("/v1/stream", json={"text": "a", "seconds": 99}).status_code == 422


def test_a_stream_that_breaks_says_so(make_client, clutch):
    client = make_client(Streaming(clutch, ConfigError("no more")))
    events = events_of(client.post("/v1/stream", json={"text": TEXTS[1], "seconds": 1}))
    assert [name for name, _ in events] == ["frames", "error"]
    assert events[1][1] == {"status": 422, "detail": "no more"}
    assert client.service.batcher.streaming == 0


# what is kept


@pytest.mark.parametrize("suffix", ["glb", "bvh", "npz", "mp4"])
def test_a_motion_is_downloaded_as_a_file(client, motion, suffix, tmp_path):
    answer = client.get(f"/v1/motions/{motion['id']}/file.{suffix}")
    assert answer.status_code == 200
    assert f"clutch-{motion['id']}.{suffix}" in answer.headers["content-disposition"]
    starts = {"glb": b"glTF", "bvh": b"HIERARCHY", "npz": b"PK", "mp4": answer.content[:4] + b"ftyp"}
    assert answer.content.startswith(starts[suffix])
    if suffix == "glb":
        assert struct.unpack("<I", answer.content[8:12])[0] == len(answer.content)
    if suffix == "npz":
        (tmp_path / "a.npz").write_bytes(answer.content)
        read = load_motion(tmp_path / "a.npz")
        assert (read["captions"], len(read["transl"]), read["fps"]) == ([TEXTS[0]], 16, 15.0)


@pytest.mark.parametrize("path", ["file.exe", "file.npz/../../x", "claims/x"])
def test_no_other_file_is_given(client, motion, path):
    assert client.get(f"/v1/motions/{motion['id']}/{path}").status_code in (404, 422)


def test_only_the_last_motions_are_kept(make_client):
    client = make_client(kept_motions=2)
    ids = [client.post("/v1/generate", json={"text": "a", "seconds": 0.5}).json()["motions"][0]["id"] for _ in "123"]
    assert [client.get(f"/v1/motions/{name}").status_code for name in ids] == [404, 200, 200]
    assert "make it again" in client.get(f"/v1/motions/{ids[0]}").json()["detail"]


def test_a_motion_is_captioned_by_id_and_by_its_features(client, clutch, motion):
    features = client.service.find(motion["id"]).motion["features"]
    by_id = client.post("/v1/caption", json={"motion": motion["id"]}).json()
    sent = client.post("/v1/caption", json={"features": features.tolist(), "fps": 15, "detailed": False})
    assert sent.json() == by_id
    assert by_id["windows"] == [{"start": 0.0, "stop": 16 / 15, "text": by_id["text"]}]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "either motion or features"),
        ({"motion": "nobody"}, "No motion of this id"),
        ({"motion": "../../etc"}, "pattern"),
        ({"features": [[0.0] * 197], "fps": 15}, "at least 198"),
        ({"features": [[0.0] * 198] * 16}, "fps"),
        ({"features": [[0.0] * 198] * 16, "fps": 30}, "30"),
        ({"features": [[1e30] * 198] * 16, "fps": 15}, "between -1000 and 1000"),
        ({"features": [[None] * 198] * 16, "fps": 15}, "finite"),
        ({"features": [[0.0] * 198] * 16, "fps": 15, "valid": [[True, True]]}, "a pair for each frame"),
        ({"features": [[0.0] * 198] * 16, "fps": 15, "valid": [[False, False]] * 16}, "seen"),
    ],
)
def test_what_is_no_motion_is_told_why(client, body, reason):
    answer = client.post("/v1/caption", json=body)
    assert answer.status_code in (404, 422)
    assert reason in answer.json()["detail"]


def test_the_claims_of_a_plan_are_marked(client, motion):
    kept = client.service.find(motion["id"])
    measured = client.get(f"/v1/motions/{motion['id']}/claims").json()
    assert measured["asked"] == []
    claims = {claim["claim"] for claim in measured["measured"]}
    moving = {name for name in claims if name.startswith("hands:")}
    assert moving
    hand = sorted(moving)[0].split(":")[1].split("=")[0]
    other = {"moves": "still", "still": "moves"}[sorted(moving)[0].split("=")[1]]
    kept.motion["plan"] = [sorted(moving)[0], f"hands:{hand}={other}"]
    asked = client.get(f"/v1/motions/{motion['id']}/claims").json()["asked"]
    assert [claim["verdict"] for claim in asked] == ["fulfilled", "contradicted"]


# one hand, and sentences


class Completing(Streaming):
    def complete(self, features, text, *, valid, seconds, samples, seed, keep, explain, **how):
        self.asked = (text, valid, seconds, keep)
        return [{"features": features + 1, "tokens": np.empty((0, 4), int), "fps": 15.0}] * samples

    def chain(self, script, *, seed, **how):
        frames = round(sum(seconds for _, seconds in script) * 15)
        return {"features": self.clutch.generate("a", 2)[0][0]["features"][:frames]}


def test_one_hand_is_made_anew_where_the_model_can(make_client, clutch):
    model = Completing(clutch)
    client = make_client(model)
    first = client.post("/v1/generate", json={"text": TEXTS[0], "seconds": 1}).json()["motions"][0]
    answer = client.post("/v1/complete", json={"motion": first["id"], "keep": "right", "seed": 9, "samples": 2})
    assert [m["seed"] for m in answer.json()["motions"]] == [9, 9]
    text, valid, seconds, keep = model.asked
    assert (text, seconds, keep) == (TEXTS[0], None, True)
    assert valid.tolist() == [[False, True]] * 16
    client.post("/v1/complete", json={"motion": first["id"], "keep": "both", "seconds": 2})
    text, valid, seconds, _ = model.asked
    assert (text, seconds) == (None, 2)  # what comes after is left open: its text was of what is there
    assert valid.all()


def test_a_model_that_cannot_complete_says_so(make_client, clutch):
    client = make_client(Streaming(clutch))
    client.service.model._complete = None
    first = client.post("/v1/generate", json={"text": "a", "seconds": 0.5}).json()["motions"][0]
    answer = client.post("/v1/complete", json={"motion": first["id"], "keep": "left"})
    assert answer.status_code == 404
    assert "cannot complete" in answer.json()["detail"]
    assert client.get("/health").json()["model"]["completes"] is False


def test_sentences_become_one_motion(make_client, clutch):
    client = make_client()
    client.service.model._chain = None
    lines = [{"text": TEXTS[0], "seconds": 1.067}, {"text": TEXTS[1], "seconds": 0.533}]
    answer = client.post("/v1/chain", json={"lines": lines, "seed": 4}).json()
    first, second = (clutch.generate(line["text"], line["seconds"], seed=4)[0][0]["features"] for line in lines)
    whole = client.service.find(answer["motion"]["id"]).motion["features"]
    between = len(whole) - len(first) - len(second)
    assert between == 6
    np.testing.assert_allclose(whole[:16], first, atol=1e-5)
    wrists = np.r_[96:99, 195:198]
    rest = np.delete(np.arange(198), wrists)
    np.testing.assert_allclose(whole[-8:, rest], second[:, rest], atol=1e-5)
    middle = whole[:, wrists].reshape(-1, 2, 3).mean(1)
    np.testing.assert_allclose(middle[22], middle[15], atol=1e-5)  # it goes on from where the hands are
    assert [(t["start"], t["stop"]) for t in answer["lines"]] == [(0, 16 / 15), (16 / 15, 30 / 15)]


def test_the_models_own_chain_is_used_and_too_long_ones_are_refused(make_client, clutch):
    client = make_client(Completing(clutch), max_lines=2, max_frames=28)
    lines = [{"text": "a", "seconds": 1.0}, {"text": "b", "seconds": 0.5}]
    answer = client.post("/v1/chain", json={"lines": lines}).json()
    assert [(t["start"], t["stop"]) for t in answer["lines"]] == [(0, 1), (1, pytest.approx(22 / 15))]
    assert "at most 2 lines" in client.post("/v1/chain", json={"lines": lines * 2}).json()["detail"]
    long = [{"text": "a", "seconds": 1.5}] * 2
    assert "at most 1.8 seconds" in client.post("/v1/chain", json={"lines": long}).json()["detail"]


# the pages


def test_the_pages_fetch_nothing_from_elsewhere(client):
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.status_code == 200
        for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert not re.match(r"https?:|//", name)
            if not name.startswith("data:"):
                assert client.get(f"/{name}").status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/assets/../app.py").status_code == 404
    assert client.get("/assets/LICENSE").status_code == 404


def test_every_address_is_described(client):
    api = client.get("/openapi.json").json()
    assert {"/v1/generate", "/v1/stream", "/v1/caption", "/v1/complete", "/v1/chain"} < set(api["paths"])
    assert all(m["description"] for methods in api["paths"].values() for m in methods.values())


def test_metrics_count_by_route_and_not_by_what_clients_write(client, motion):
    for path in ("/v1/motions/a", "/v1/motions/b", "/nothing", "/x%22%0A"):
        client.get(path)
    text = client.get("/metrics").text
    assert 'clutch_requests_total{method="GET",route="/v1/motions/{motion}",status="404"} 2' in text
    assert 'clutch_requests_total{method="GET",route="none",status="404"} 2' in text
    assert "clutch_motions_total 1\n" in text
    assert "clutch_frames_total 16\n" in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"\n]*",?)+\})? -?[0-9.e+]+', line), line


def test_the_end_is_told(clutch):
    app = create_app(clutch)
    with testclient.TestClient(app, base_url="http://localhost") as client:
        assert client.get("/health").json()["status"] == "ok"
    assert app.app.state.service.batcher.stopping
    answer = testclient.TestClient(app, base_url="http://localhost").post("/v1/generate", json={"text": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
