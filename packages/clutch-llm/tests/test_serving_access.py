"""Who may speak to the service, how much at once, and what the command line refuses."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clutch_llm.cli import main
from clutch_llm.errors import ConfigError
from clutch_llm.serving import ServeConfig, create_app
from clutch_llm.serving.running import check_access, listen

testclient = pytest.importorskip("starlette.testclient", reason="needs clutch-llm[serve] and httpx")

KEY = "a-long-secret"


@pytest.fixture
def make_client(clutch):
    opened = []

    def make(**settings):
        app = create_app(clutch, ServeConfig(**settings))
        client = testclient.TestClient(app, base_url="http://localhost")
        client.app_, client.service = app, app.app.state.service
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("evil.example:localhost", 400),
        ("[::1", 400),
        ("", 400),
    ],
)
def test_other_hosts_are_refused(make_client, host, status):
    assert make_client().get("/", headers={"Host": host}).status_code == status


def test_more_hosts_can_be_allowed(make_client):
    client = make_client(allowed_hosts=("hands.example.org",))
    assert client.get("/", headers={"Host": "hands.example.org"}).status_code == 200
    assert client.get("/").status_code == 400
    assert make_client(allowed_hosts=("*",)).get("/", headers={"Host": "any.thing"}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost", 200), ("http://evil.example", 403), ("null", 403), ("http://[", 403)],
)
def test_pages_of_other_origins_cannot_ask(make_client, origin, status):
    answer = make_client().post("/v1/generate", json={"text": "a", "seconds": 0.5}, headers={"Origin": origin})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": KEY}, 200),
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"Authorization": f"bearer  {KEY}"}, 200),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"X-API-Key": KEY[:-1]}, 401),
        ({"X-API-Key": "schlüssel".encode()}, 401),
    ],
)
def test_the_key_is_asked_for(make_client, headers, status):
    client = make_client(api_key=KEY)
    for path in ("/metrics", "/openapi.json", "/v1/motions/x"):
        assert (client.get(path, headers=headers).status_code == 401) == (status == 401)
    answer = client.post("/v1/generate", json={"text": "a", "seconds": 0.5}, headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert KEY not in answer.text
    for path in ("/", "/health", "/assets/page.js"):
        assert client.get(path).status_code == 200


def test_the_key_is_not_in_what_is_printed():
    assert KEY not in repr(ServeConfig(api_key=KEY))
    with pytest.raises(ConfigError, match="at least 8"):
        ServeConfig(api_key="short")


def test_large_bodies_are_refused_whether_they_say_so_or_not(make_client):
    client = make_client(max_body=1000)
    assert client.post("/v1/generate", content=b"a" * 1001).status_code == 413
    assert client.post("/v1/generate", content=iter([b"a" * 600, b"a" * 600])).status_code == 413
    assert client.post("/v1/generate", content=b"", headers={"Content-Length": "9" * 30}).status_code == 400
    assert client.post("/v1/generate", json={"text": "a", "seconds": 0.5}).status_code == 200


def test_a_body_that_does_not_come_is_given_up(make_client):
    app, sent = make_client(timeout=0.05).app_, []

    async def never():
        await asyncio.sleep(10)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/generate", "headers": [(b"host", b"localhost")]}
    began = time.monotonic()
    asyncio.run(app(scope, never, send))
    assert sent[0]["status"] == 408
    assert time.monotonic() - began < 5


def test_too_many_are_told_when_to_come_again(make_client, clutch, monkeypatch):
    running, go = threading.Event(), threading.Event()
    generate = type(clutch).generate

    def held(self, *args, **how):
        running.set()
        assert go.wait(20)
        return generate(self, *args, **how)

    monkeypatch.setattr(type(clutch), "generate", held)
    client = make_client(max_queue=1, max_requests=3, batch_size=1, gather_ms=0)

    def ask(_=None):
        return client.post("/v1/generate", json={"text": "a", "seconds": 0.5})

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask)
        assert running.wait(20)
        second = pool.submit(ask)
        while client.service.batcher.waiting == 0:
            time.sleep(0.01)
        full = ask()
        assert full.status_code == 429
        assert 1 <= int(full.headers["retry-after"]) <= 60
        client.app_.running += 2
        busy = ask()
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
        client.app_.running -= 2
        go.set()
        assert [first.result(20).status_code, second.result(20).status_code] == [200, 200]
    assert client.app_.running == 0


def test_what_takes_too_long_is_given_up(make_client, clutch, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(type(clutch), "generate", lambda self, *args, **how: [[go.wait(20)]])
    answer = make_client(timeout=0.2).post("/v1/generate", json={"text": "a"})
    go.set()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


# the command


def test_other_machines_need_a_key_unless_told():
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.9"):
        check_access(host, None)
    for host in ("0.0.0.0", "::", "192.168.1.5", "hands.example.org"):
        with pytest.raises(ConfigError, match="CLUTCH_API_KEY"):
            check_access(host, None)
        check_access(host, KEY)
        check_access(host, None, without_key=True)


def test_the_command_refuses_before_it_opens_a_model(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("CLUTCH_API_KEY", raising=False)
    taken = listen("127.0.0.1", 0)
    with taken:
        for words, reason in (
            (["--host", "0.0.0.0"], "CLUTCH_API_KEY"),
            (["--batch-size", "0"], "batch_size"),
            (["--port", str(taken.getsockname()[1])], "--port"),
            (["--port", "70000"], "--port"),
        ):
            with pytest.raises(SystemExit) as caught:
                main(["serve", str(tmp_path / "none"), *words])
            assert caught.value.code == 1
            assert reason in capsys.readouterr().err
