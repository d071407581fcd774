"""The package as others meet it: light to import, and a README whose examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import hand_geometry
import pytest

README = Path(__file__).parents[1] / "README.md"


def test_importing_the_package_and_the_fitter_loads_neither_torch_nor_numba():
    code = (
        "import sys, hand_geometry; from hand_geometry import fit_keypoints; "
        "print([m for m in ('torch', 'numba', 'PIL', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_joints_of_features_load_no_compiler():
    code = "import sys; from hand_geometry import features_to_joints; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists_and_is_documented():
    for name in hand_geometry.__all__:
        assert getattr(hand_geometry, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hand_geometry.nothing  # noqa: B018


def test_the_examples_in_the_readme_run(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) >= 4
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    assert (tmp_path / "wave.gif").stat().st_size > 1000
