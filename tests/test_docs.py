"""The documentation site builds without a warning; the messages that it explains are the code's."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
FAQ = (ROOT / "docs/faq.md").read_text()
CODE = "\n".join(
    path.read_text()
    for folder in ("packages", "pipelines")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.parts
)


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory, environment) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    result = subprocess.run(
        command, cwd=ROOT, env=environment | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return out


def test_the_site_builds_strictly_and_has_each_packages_readme_and_reference(built):
    for name, words in {
        "reference/hand-geometry.html": ("features_to_joints", "hands.png"),
        "reference/shift-tokenizer.html": ("ShiftTokenizer", "vq_lookup"),
        "reference/hiw-data.html": ("HiwStore", "What a build promises"),
        "reference/clutch-llm.html": ("Clutch", "How it works"),
        "reference/pipelines.html": ("check_agreement", "resolve_paths"),
        "own-data.html": ("my_clips", "max_frames"),
        "results.html": ("R-precision",),
    }.items():
        page = (built / name).read_text()
        assert [word for word in words if word not in page] == []
    assert (built / "packages/hand-geometry/docs/hands.png").is_file()


def test_the_site_fetches_nothing_from_elsewhere(built):
    for page in built.rglob("*.html"):
        assert re.findall(r'(?:src|href)="https?://(?!squidfunk)[^"]*\.(?:js|css|woff2?)"', page.read_text()) == [], (
            page
        )


def test_every_page_is_in_the_navigation():
    def names(entry) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [n for value in (entry.values() if isinstance(entry, dict) else entry) for n in names(value)]

    # BaseLoader: the file may hold tags that only MkDocs knows
    listed = names(yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=yaml.BaseLoader)["nav"])
    assert sorted(listed) == sorted(str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md"))


MESSAGES = re.findall(r"^### `(.+)`$", FAQ, re.MULTILINE)


def test_the_faq_explains_messages():
    assert len(MESSAGES) >= 18


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_faq_is_one_that_the_code_gives(message):
    joined = re.sub(r'"\s*\n\s*f?"', "", CODE)  # text that goes on in the next line of the source
    fixed = [part for part in message.split("…") if part.strip(" '.")]
    pattern = r"\{[^{}]*\}".join(re.escape(part) for part in fixed) if len(fixed) > 1 else re.escape(fixed[0])
    assert re.search(pattern, joined), message


def test_an_include_takes_a_section_and_leads_its_links_to_the_site(site, tmp_path, monkeypatch):
    (tmp_path / "packages/one").mkdir(parents=True)
    (tmp_path / "README.md").write_text(
        "# Top\n\n## First\n\n[a](docs/lookup.md) [b](packages/one) [c](https://x.org/y) [d](#first) "
        "![e](packages/one/e.png)\n\n## Second\n\nno\n"
    )
    monkeypatch.setattr(site, "ROOT", tmp_path)
    taken = site.included("README.md", "First", "reference/page.md")
    assert taken == (
        "## First\n\n[a](../lookup.md) [b](one.md) [c](https://x.org/y) [d](#first) ![e](../packages/one/e.png)\n\n"
    )
    with pytest.raises(PluginError, match="no such heading"):
        site.included("README.md", "Third", "page.md")
    with pytest.raises(PluginError, match="not a file"):
        site.included("NONE.md", None, "page.md")
