"""The viewer: the page that is written, the server, and a real browser that plays it and shows the right pixels."""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
import subprocess
import threading
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hand_geometry.errors import InputError
from hand_geometry.viewing import PageServer, viewer_page, write_html

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WEB = Path(__file__).parents[1] / "web"
SIZE = {"width": 480, "height": 400}


def embedded(page):
    return json.loads(re.search(r'<script type="application/json" id="motions">(.*?)</script>', page, re.S).group(1))


def test_the_page_needs_nothing_but_itself(make_motion, tmp_path):
    path = write_html(tmp_path / "new" / "wave.html", [make_motion(), make_motion(6, 1)], ["truth", "model"])
    page = path.read_text()
    outside = re.findall(r"""(?:src|href)\s*=\s*["'][^"']+|@import|url\(""", page.split("<script>")[0])
    assert outside == []
    assert [entry["title"] for entry in embedded(page)] == ["truth", "model"]
    assert "three.js authors. MIT licence" in page
    assert [p.name for p in path.parent.iterdir()] == ["wave.html"]


def test_titles_cannot_break_out_of_the_page(make_motion):
    nasty = "</script><script>alert(1)</script> @viewer@ & <b>"
    page = viewer_page([make_motion(2) | {"captions": [nasty]}])
    assert embedded(page)[0]["title"] == nasty
    assert "<script>alert" not in page
    assert page.count("window.viewer = {") == 1


def test_the_shipped_three_js_is_what_the_build_makes(tmp_path):
    node = shutil.which("node")
    if node is None or not (WEB / "node_modules" / "esbuild").is_dir():
        pytest.skip("needs Node and, in packages/hand-geometry/web, npm install")
    subprocess.run([node, "build.js", str(tmp_path)], cwd=WEB, check=True)
    shipped = resources.files("hand_geometry.viewing") / "assets"
    for name in ("three.min.js", "LICENSE-three-MIT.txt"):
        assert (shipped / name).read_bytes() == (tmp_path / name).read_bytes()


def test_motions_that_cannot_be_shown_are_named(make_motion, tmp_path):
    motion = make_motion()
    with pytest.raises(InputError, match="at least one, got none"):
        viewer_page([])
    with pytest.raises(InputError, match="titles: Expected 1"):
        viewer_page([motion], ["a", "b"])
    with pytest.raises(InputError, match="finite"):
        viewer_page([motion | {"transl": motion["transl"] * np.nan}])
    with pytest.raises(InputError, match="at least one frame"):
        viewer_page([{name: value[:0] for name, value in motion.items()}])
    with pytest.raises(InputError, match="html"):
        write_html(tmp_path / "a.txt", [motion])
    assert list(tmp_path.iterdir()) == []


def test_the_server_gives_the_page_and_nothing_else():
    with PageServer("<p>hände</p>") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            for path, status in (("/", 200), ("/?x", 200), ("/etc/passwd", 404), ("/../cli.py", 404)):
                connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read().decode()
                connection.close()
                assert answer.status == status
                assert ("hände" in body) == (status == 200)
            with pytest.raises(InputError, match=r"another --port"):
                PageServer("", port=server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs Chromium or Chrome")
    flags = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def clip(make_motion):
    valid = np.ones((12, 2), bool)
    valid[8:, 0] = False
    return make_motion() | {"fps": 15.0, "valid": valid, "captions": ["both hands wave"]}


@pytest.fixture(scope="module")
def page(browser, clip, make_motion, tmp_path_factory):
    """Two motions side by side, opened from a file, paused at the start; an error on the page fails the test."""
    path = write_html(tmp_path_factory.mktemp("page") / "a.html", [clip, make_motion(6, 1)], ["truth", "model"])
    page = browser.new_page(viewport=SIZE)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(path.as_uri(), wait_until="commit", timeout=120_000)
    page.wait_for_function("window.viewer", timeout=120_000)
    page.evaluate("viewer.ready.then(() => viewer.pause())")
    yield page
    assert [error for error in errors if not error.startswith("data:")] == []
    page.close()


def picture(page, time):
    """The motions at a time, (H, W, 3) int, without the bars below them that tell when a hand was seen."""
    image = pytest.importorskip("PIL.Image")
    page.evaluate("time => viewer.seek(time)", time)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shot = image.open(io.BytesIO(page.screenshot(timeout=120_000))).convert("RGB")
    return np.asarray(shot).astype(int)[: int(page.locator("#grid").bounding_box()["height"]) - 24]


def test_three_js_moves_every_joint_as_the_model_does(page, clip, joints_of):
    names = ["wrist"] + [
        f"{f}{k}" for f in ("thumb", "index", "middle", "ring", "pinky") for k in ("1", "2", "3", "_tip")
    ]
    expected = joints_of(clip) * [1, -1, -1]  # glTF is y up
    for frame in (0, 1, 5, 10, 11):
        page.evaluate("time => viewer.seek(time)", frame / 15)
        shown = page.evaluate("viewer.joints(0)")
        for hand, side in enumerate(("left", "right")):
            got = np.array([shown[f"{side}_{name}"] for name in names])
            assert np.abs(got - expected[frame, hand]).max() < 1e-4


def test_both_motions_show_a_cool_left_and_a_warm_right_hand(page):
    shot = picture(page, 0.2)
    for half in (shot[:, :240], shot[:, 240:]):
        warmth = half[..., 0] - half[..., 2]
        cool, warm = np.argwhere(warmth < -35), np.argwhere(warmth > 50)
        assert len(cool) > 150
        assert len(warm) > 150
        assert cool[:, 1].mean() < 115 < warm[:, 1].mean()


def test_a_hand_that_is_not_seen_fades(page):
    def cool(shot):
        return (shot[:, :240, 2] - shot[:, :240, 0] > 35).sum()

    assert cool(picture(page, 10 / 15)) < 0.2 * cool(picture(page, 5 / 15))


def test_playing_moves_the_hands_and_pausing_stops_them(page):
    before = picture(page, 0.0)
    page.evaluate("viewer.play()")
    page.wait_for_function("viewer.time > 0.1", timeout=120_000)
    page.keyboard.press("Space")
    assert not page.evaluate("viewer.playing")
    time = page.evaluate("viewer.time")
    after = picture(page, time)
    assert (np.abs(after - before).max(-1) > 40).sum() > 100
    assert page.evaluate("viewer.time") == time
    np.testing.assert_array_equal(picture(page, time), after)


def test_the_scrubber_the_keys_and_the_buttons_work(page):
    page.evaluate("viewer.seek(0)")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("viewer.time") == pytest.approx(1 / 15)
    page.keyboard.press("End")
    assert page.evaluate("viewer.time") == pytest.approx(page.evaluate("viewer.duration"))
    page.locator("#scrub").evaluate("(e) => { e.value = 0.5; e.dispatchEvent(new Event('input')); }")
    assert page.evaluate("viewer.time") == pytest.approx(page.evaluate("viewer.duration") / 2)
    level = picture(page, 0.2)
    page.get_by_role("button", name="Above").click()
    above = picture(page, 0.2)
    assert (np.abs(above - level).max(-1) > 40).sum() > 1000
    page.get_by_role("button", name="Egocentric").click()
    page.get_by_role("button", name="2×", exact=True).click()
    assert page.locator("#speeds [aria-pressed=true]").inner_text() == "2×"
