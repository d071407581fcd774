"""`clutch serve` as its users have it: a process, a real browser on its page, and an end that is clean."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs clutch-llm[serve]")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
KEY = "a-long-secret"
WAIT = 120_000


@contextmanager
def served(*folder):
    code = "import sys; from clutch_llm.cli import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", code, "serve", *map(str, folder), "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "CLUTCH_API_KEY": KEY}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True) as process:
        process.url = process.stdout.readline().strip()
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


@pytest.fixture(scope="module")
def process(clutch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "clutch"
    clutch.save_pretrained(folder)
    with served(folder) as process:
        yield process


@contextmanager
def browsed(process):
    """The page; an error on it, or a request to elsewhere, fails the test."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs Chromium or Chrome")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport={"width": 1000, "height": 640})
        page.set_default_timeout(WAIT)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: errors.append(request.url)
                if not request.url.startswith((process.url, "data:", "blob:")) else None)  # fmt: skip
        page.goto(process.url)
        page.evaluate("clutch.ready")
        try:
            yield page
        finally:
            browser.close()
        assert errors == []


@pytest.fixture
def page(process):
    with browsed(process) as page:
        yield page


def until(page, expression, *given):
    """Wait until an expression is true; the page's own policy forbids that it evaluates strings itself."""
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(expression, *given):
        assert time.monotonic() < end, page.inner_text("#message")
        page.wait_for_timeout(50)


def ask(page, text, seconds="1"):
    page.fill("#text", text)
    page.fill("#seconds", seconds)
    page.click("#go")
    until(page, "text => !clutch.busy && clutch.motion && clutch.motion.text === text", text)


def picture(page):
    image = pytest.importorskip("PIL.Image")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return np.asarray(image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB")).astype(int)


def test_a_sentence_becomes_hands_that_move_and_files_and_a_timeline(page, process, tmp_path):
    page.fill("#text", "the left hand waves")
    page.click("#go")
    until(page, "!clutch.busy")
    assert "API key" in page.inner_text("#message")
    page.fill("#key", KEY)

    empty = picture(page)
    ask(page, "the left hand waves")
    assert page.evaluate("clutch.frames") == 16
    assert page.is_hidden("#live")  # no bones over the motion
    page.evaluate("clutch.scene.seek(0)")
    first = picture(page)
    assert (np.abs(first - empty).sum(-1) > 60).mean() > 0.01
    before = page.evaluate("clutch.scene.joints()")
    page.evaluate("clutch.scene.seek(0.8)")
    after = page.evaluate("clutch.scene.joints()")
    assert (np.abs(picture(page) - first).sum(-1) > 60).any()
    moved = np.array([before[name] for name in before]) - np.array([after[name] for name in before])
    assert np.abs(moved).max() > 1e-3
    assert page.inner_text("#caption") not in ("", "–")
    assert page.locator("#measured li").count() > 0
    assert page.is_hidden("#handbox")  # this model was not trained on it

    with page.expect_download() as download:
        page.click("[data-file=glb]")
    download.value.save_as(tmp_path / "a.glb")
    assert (tmp_path / "a.glb").read_bytes()[:4] == b"glTF"

    until(page, "!clutch.busy")
    page.click("#add")
    assert page.is_disabled("#chain")
    nasty = "<img src=x onerror=alert(1)> both hands clap"
    ask(page, nasty)
    page.click("#add")
    assert nasty in page.inner_text("#timeline li:nth-child(2)")
    page.click("#chain")
    until(page, "!clutch.busy && clutch.motion.lines")
    assert page.evaluate("clutch.scene.duration") > 2
    page.evaluate("clutch.scene.seek(0.2)")
    page.wait_for_selector("#timeline li:nth-child(1).now")
    page.evaluate("clutch.scene.seek(clutch.scene.duration - 0.1)")
    page.wait_for_selector("#timeline li:nth-child(2).now")
    if "CLUTCH_SCREENSHOT" in os.environ:
        page.screenshot(path=os.environ["CLUTCH_SCREENSHOT"])


def test_one_hand_is_made_anew_and_the_other_stays_as_it_is(tmp_path, monkeypatch):
    """With the package's model, which has learnt to complete motions."""
    monkeypatch.chdir(tmp_path)  # where no other model is
    with served() as process, browsed(process) as page:
        page.evaluate("key => { document.getElementById('key').value = key; }", KEY)
        ask(page, "the right hand waves three times", "3")
        page.wait_for_selector("#handbox", state="visible")

        def joints():
            found = []
            for time in (0.5, 1.0, 2.0):
                page.evaluate("time => clutch.scene.seek(time)", time)
                found.append(page.evaluate("clutch.scene.joints()"))
            return {
                side: np.array([[at[name] for name in sorted(at) if side in name.lower()] for at in found])
                for side in ("left", "right")
            }

        before = joints()
        page.fill("#text", "the left hand makes a fist three times")
        page.click("[data-hand=left]")
        until(page, "!clutch.busy && clutch.motion && clutch.motion.text === 'the left hand makes a fist three times'")
        after = joints()
        assert before["right"].shape == (3, 21, 3)
        moved = {side: np.abs(after[side] - before[side]).max() for side in before}
        assert moved["right"] < 0.002  # metres: as the motion's file holds it
        assert moved["left"] > 0.03


def test_what_is_wrong_is_said_and_the_page_goes_on(page):
    page.evaluate("key => { document.getElementById('key').value = key; }", KEY)
    page.evaluate("document.getElementById('seconds').removeAttribute('max')")
    page.fill("#text", "both hands clap")
    page.fill("#seconds", "99")
    page.click("#go")
    until(page, "!clutch.busy && document.getElementById('message').classList.contains('bad')")
    assert "seconds from" in page.inner_text("#message")
    ask(page, "both hands clap")
    assert page.inner_text("#message") == ""


def test_the_interface_is_described_on_a_page(page, process):
    page.evaluate("key => sessionStorage.setItem('clutch-key', key)", KEY)
    page.goto(f"{process.url}docs")
    page.wait_for_selector("text=POST /v1/generate")
    assert "the same text and seed give the same motion" in page.inner_text("#docs")


def test_it_ends_cleanly_when_told_to(process):
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{process.url}v1/generate", json.dumps({"text": "a"}).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in errors
    assert said == ""
