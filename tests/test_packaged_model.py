"""The trained model that comes with the package does what its card says, from the wheel's files alone."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from clutch_llm import Clutch
from clutch_llm.evaluation import measure_claims
from hiw_data.captioning import caption_claims
from hiw_data.sources.procedural import ProceduralSource, held_out_phrasing

ROOT = Path(__file__).parents[1]

#: How far the share of claims on a few clips may lie from that of the card: three standard errors of 60 clips.
MARGIN = 0.12


@pytest.fixture(scope="module")
def packaged(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(out), str(ROOT / "packages/clutch-llm")], check=True)
    (wheel,) = out.glob("clutch_llm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("clutch_llm/assets/model/")]
        archive.extractall(out, names)
    return out / "clutch_llm/assets/model"


def test_it_is_small_and_its_card_says_how_it_was_made(packaged: Path) -> None:
    assert sum(path.stat().st_size for path in packaged.rglob("*") if path.is_file()) < 8 * 2**20
    card = (packaged / "README.md").read_text()
    for words in (
        "- command: `kedro run --env wheel --pipeline full`",
        "- data: `",
        "- seed: 0",
        "procedural: claims fulfilled",
    ):
        assert words in card


def test_it_fulfils_as_many_claims_as_its_card_says(packaged: Path) -> None:
    """On scripted clips of another seed, in the captions' words and in phrasings that no training has seen."""
    figures = json.loads((packaged / "figures.json").read_text())
    clutch = Clutch.from_pretrained(packaged)
    clips = [clip for clip in ProceduralSource(60, seed=77).stream(15.0) if isinstance(clip, dict)]
    written, free = [clip["captions"][-1] for clip in clips], [held_out_phrasing(clip) for clip in clips]
    arms = {
        "written": [[m["features"] for m in own] for own in clutch.generate(written)],
        "free": [[m["features"] for m in own] for own in clutch.generate([text or "wave" for text in free])],
    }
    texts = {"": written, "written": written, "free": [text or "" for text in free]}
    rows = measure_claims(caption_claims, clips, arms, texts=texts)["procedural"]["rows"]
    card = figures["procedural: claims fulfilled"]
    assert rows["written"]["claims"] == pytest.approx(card, abs=MARGIN)
    assert rows["free"]["claims"] > card - 2 * MARGIN
    assert rows["random_caption"]["claims"] < card - MARGIN


def test_a_word_is_enough(packaged: Path) -> None:
    """Sentences that leave hand and direction open: what they take two hands for is done by two."""
    clutch = Clutch.from_pretrained(packaged)
    for text in ("clap", "knead the dough", "wring out a towel"):
        plans = [motion["plan"] for motion in clutch.generate(text, samples=6, seed=0, explain=True)[0]]
        assert all("hands:both=moves" in plan for plan in plans), text
