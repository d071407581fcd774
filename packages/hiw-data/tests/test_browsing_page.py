"""`hiw browse` as its users have it: a process, a real browser on its page, and an end that is clean."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_geometry import features_to_joints
from hiw_data import HiwStore
from hiw_data.cli import main
from hiw_data.store.writer import StoreWriter

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WAIT = 120_000
NASTY = "<img src=x onerror=\"window.ran = 'yes'\"> the left hand waves"
WARM = """(() => {
  const over = document.getElementById('over'), found = [];
  const { width, height } = over, shades = over.getContext('2d').getImageData(0, 0, width, height).data;
  for (let k = 0; k < width * height; k++) {
    const [red, , blue, alpha] = shades.subarray(4 * k, 4 * k + 4);
    if (alpha > 200 && red > blue + 60) found.push([(k % width) / width, Math.floor(k / width) / height]);
  }
  return found;
})()"""
PINHOLE = {"fx": 100.0, "fy": 100.0, "cx": 32.0, "cy": 24.0, "width": 64.0, "height": 48.0}


@dataclass
class Served:
    process: subprocess.Popen[str]
    url: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, store: HiwStore, make_clip: Any) -> Path:
    """62 clips: one with a video, whose left hand is unseen, one whose captions are wrong and hostile, and others."""
    folder = tmp_path_factory.mktemp("browse-page")
    waves = next(
        clip
        for clip in store.clips()
        if clip["attributes"]["hand"] == "right" and clip["attributes"]["family"] == "wave"
    )
    waves["split"] = "train"
    wrong = {**waves, "clip_id": "wrong/<b>1</b>", "captions": [NASTY, waves["captions"][0]]}
    half = np.ones((len(waves["valid"]), 2), bool)
    half[:, 0] = False
    middle = features_to_joints(waves["features"])[:, 1].mean((0, 1))
    filmed = {
        **waves,
        "clip_id": "filmed",
        "source": "camera",
        "captions": ["the right hand is filmed"],
        "valid": half,
        "timestamps": 0.2 + np.arange(len(half)) / 15,
        "camera": {"pinhole": PINHOLE, "view": "egocentric"},
        "attributes": {"file": "a.webm", "frame_origin": ([0, 0, 0.8] - middle).tolist()},
    }
    with StoreWriter(folder / "s.zarr", fps=15, key="k", shard_frames=1024) as writer:
        for clip in (filmed, wrong, *(make_clip(f"noise/{k:02d}", seed=k, split="val") for k in range(60))):
            clip.pop("mirrored_captions", None)
            writer.append(clip)
        writer.publish({"notes": [NASTY], "skipped": {"count": 1, "clips": [{"clip_id": "x", "reason": NASTY}]}})
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Any:
    (folder / "videos").mkdir()
    code = "import sys; from hiw_data.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["browse", str(folder / "s.zarr"), "--videos", str(folder / "videos"), "--no-browser"]
    if _can_film():
        from hands_in_view import write_video

        write_video(folder / "videos" / "a.webm", frames=150, codec="libvpx-vp9")
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield Served(process, process.stdout.readline().strip())
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def _can_film() -> bool:
    try:
        import av
    except ImportError:
        return False
    return "libvpx-vp9" in av.codecs_available


@pytest.fixture(scope="module")
def browser() -> Any:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs Chromium or Chrome")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(served: Served, browser: Any) -> Any:
    """The page; an error on it, of its policy too, or a request to elsewhere, fails the test."""
    page = browser.new_page(viewport={"width": 900, "height": 640})
    page.set_default_timeout(WAIT)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: errors.append(request.url)
            if not request.url.startswith((served.url, "data:", "blob:")) else None)  # fmt: skip
    page.goto(served.url)
    page.evaluate("browse.ready")
    yield page
    page.close()
    assert errors == []


def until(page: Any, expression: str, *given: object) -> None:
    """Waits until an expression is true; the page's own policy forbids that it evaluates strings itself."""
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(expression, *given):
        assert time.monotonic() < end, page.inner_text("body")
        page.wait_for_timeout(50)


def choose(page: Any, clip: str) -> None:
    page.evaluate("id => browse.open(id)", clip)
    page.evaluate("browse.player.pause()")


def drawn(page: Any) -> None:
    """Waits for the page's own loop and that of the hands, whichever comes first, and the screen."""
    for _ in range(3):
        page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")


def picture(page: Any, element: str, at: float) -> np.ndarray:
    image = pytest.importorskip("PIL.Image")
    page.evaluate("time => browse.player.seek(time)", at)
    drawn(page)
    return np.asarray(image.open(io.BytesIO(page.locator(element).screenshot())).convert("RGB")).astype(int)


def test_a_clip_is_found_its_hands_move_and_its_wrong_claim_is_marked(page: Any) -> None:
    assert page.inner_text("#found") == "62 clips"
    page.fill("#words", "left WAVES onerror")
    until(page, "browse.found.total === 1")
    page.click("#list button")
    until(page, "browse.clip.id === 'wrong/<b>1</b>' && browse.player.playing")
    assert page.inner_text("#title") == "wrong/<b>1</b>"
    until(page, "browse.player.time > 0.1")  # it plays by itself
    page.evaluate("browse.player.pause()")
    before, after = picture(page, "#stage", 0.3), picture(page, "#stage", 2.0)
    assert (np.abs(after - before).max(-1) > 40).sum() > 200
    np.testing.assert_array_equal(picture(page, "#stage", 0.3), before)

    first, second = page.locator("#captions > li").all()
    assert first.locator(".contradicted").count() > 0
    assert first.locator(".contradicted .status").first.inner_text() == "contradicted"
    assert "left" in first.locator(".contradicted .said").first.inner_text()
    assert second.locator(".contradicted").count() == 0
    assert second.locator(".supported").count() > 0
    if "BROWSE_SCREENSHOT" in os.environ:
        page.screenshot(path=os.environ["BROWSE_SCREENSHOT"])


def test_what_a_store_says_is_text_and_runs_nothing(page: Any) -> None:
    choose(page, "wrong/<b>1</b>")
    page.click("#stats-button")
    assert NASTY in page.locator("#captions .text").first.inner_text()
    assert page.inner_text("#stats").count(NASTY) == 2
    assert NASTY in page.locator("#list .text").nth(1).inner_text()
    assert page.locator("img, b, main script").count() == 0
    assert page.evaluate("window.ran") is None


def test_filters_and_pages_show_a_part_and_the_address_keeps_them(page: Any) -> None:
    assert page.locator("#list li").count() == 50
    page.click("#later")
    until(page, "browse.found.offset === 50")
    assert page.inner_text("#range") == "51–62"
    assert page.is_disabled("#later")
    page.select_option("#source", "camera")
    until(page, "browse.found.total === 1")
    page.select_option("#source", "")
    page.select_option("#hand", "left")
    page.locator("#seen").evaluate("(e) => { e.value = 0.5; e.dispatchEvent(new Event('input', { bubbles: true })); }")
    until(page, "browse.found.total === 61")  # all but the one whose left hand is unseen
    page.select_option("#split", "val")
    until(page, "browse.found.total === 60")
    assert "at least 50%" in page.inner_text("#share")
    page.reload()
    page.evaluate("browse.ready")
    assert page.inner_text("#found") == "60 clips"
    page.fill("#words", "there is no such word")
    until(page, "browse.found.total === 0")
    assert "No clip fits" in page.inner_text("#found")


def test_it_works_by_keyboard_alone(page: Any) -> None:
    page.locator("#list button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until(page, "browse.clip.id === 'wrong/<b>1</b>'")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("n")
    until(page, "browse.clip.id === 'noise/00' && browse.player.playing")
    page.keyboard.press(" ")
    until(page, "!browse.player.playing")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("browse.player.time") == pytest.approx(1 / 15)
    until(page, "document.getElementById('play').ariaLabel === 'Play'")
    assert page.locator("[aria-current=true]").inner_text().splitlines()[-1].startswith("noise/00")


def test_a_motion_code_is_a_place_to_go_to(page: Any) -> None:
    choose(page, "wrong/<b>1</b>")
    span = page.locator("#timeline .right .track button").first
    start = float(span.get_attribute("title").split(", ")[-1].split(" s to ")[0])
    span.click()
    assert page.evaluate("browse.player.time") == pytest.approx(start, abs=0.006)


def test_the_hands_lie_over_the_video_that_moves_with_them(page: Any, folder: Path) -> None:
    if not _can_film():
        pytest.skip("needs PyAV with VP9")
    choose(page, "filmed")
    until(page, "document.getElementById('video').readyState >= 2")
    assert "the fitted hands over it" in page.inner_text("#filmed")
    picture(page, "#film", 1.0)
    until(page, "!document.getElementById('video').seeking && Math.abs(browse.player.shown - 1) < 0.05")
    assert page.evaluate("document.getElementById('video').currentTime") == pytest.approx(1.2, abs=0.01)
    drawn(page)
    at = np.array(page.evaluate(WARM))
    assert len(at) > 30  # the right hand's lines, and of the unseen left hand none
    box = page.locator("#film").bounding_box()
    frame, video = np.array([box["width"], box["height"]]), np.array([64, 48])
    size = video * (frame / video).min()
    at = (at * frame - (frame - size) / 2) / size
    clip = HiwStore.open(folder / "s.zarr").clip(0)
    joints = features_to_joints(clip["features"])[:, 1] + clip["attributes"]["frame_origin"]
    moment = page.evaluate("browse.player.shown") * 15  # the video's pictures lie between the clip's
    k, share = int(moment + 1e-6), moment - int(moment + 1e-6)
    pixels = joints[:, :, :2] / joints[:, :, 2:] * 100 + [32, 24]
    expected = (pixels[k] * (1 - share) + pixels[k + 1] * share) / video
    np.testing.assert_allclose([at.min(0), at.max(0)], [expected.min(0), expected.max(0)], atol=0.02)
    page.evaluate("browse.player.play()")
    together = "Math.abs(document.getElementById('video').currentTime - browse.player.time - 0.2) < 0.1"
    until(page, f"browse.player.time > 1.2 && {together}")


def test_it_ends_cleanly_when_interrupted(served: Served) -> None:
    served.process.send_signal(signal.SIGINT)
    said, errors = served.process.communicate(timeout=60)
    assert served.process.returncode == 0
    assert (said.strip(), errors) == ("", "")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["{}/none.zarr"], "Expected a store at {}/none.zarr, got nothing there."),
        (["{}/s.zarr", "--videos", "{}/none"], "Expected a folder of videos at {}/none, got none there."),
        (["{}/s.zarr", "--port", "99999"], "Expected to listen at port 99999, got"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    assert main(["browse", *(word.format(folder) for word in words)]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("hiw browse: " + reason.format(folder))
    assert (said.out, said.err.count("\n")) == ("", 1)
