"""Every command and snippet of the README runs, in a copy of the project that DVC has brought up."""

import os
import re
import shlex
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {"README.md": README, "mlflow/README.md": (ROOT / "mlflow/README.md").read_text()}

pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


def example_clips(folder: Path) -> None:
    """Three clips in the documented layout, as a user would write them."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for k in range(3):
        wrists = np.array([[-0.1, 0, 0], [0.1, 0, 0]]) + rng.normal(0, 0.002, (40, 2, 3)).cumsum(0)
        np.savez(
            folder / f"clip_{k}.npz",
            global_orient=np.zeros((40, 2, 3), np.float32),
            hand_pose=rng.normal(0, 0.05, (40, 2, 15, 3)).astype(np.float32),
            transl=wrists.astype(np.float32),
            valid=np.ones((40, 2), bool),
            fps=np.float32(30),
            captions=np.array(["both hands rest", "both hands rest side by side, fingers extended"]),
        )


MAKE = [c for c in commands() if c.startswith("make")]
KEDRO = [c for c in commands() if c.startswith("kedro run")]
SHELL = [c for c in commands() if c.startswith(("clutch", "hiw", "hand-geometry"))]
PIP = [c for c in commands() if c.startswith("pip")]
TORCHRUN = [c for c in commands() if c.startswith("torchrun")]
MLFLOW = [c for c in commands() if c.startswith("mlflow")]


def test_no_command_of_the_readme_is_left_untested():
    assert sorted(commands()) == sorted(MAKE + KEDRO + SHELL + PIP + TORCHRUN + MLFLOW)
    assert MAKE == ["make demo", "make test"]


@pytest.mark.parametrize(("command", "runs"), [("make demo", "kedro run --pipeline full"), ("make test", "bin/pytest")])
def test_the_two_commands_set_up_and_run(command, runs):
    plan = subprocess.run([*command.split(), "--dry-run", "--always-make"], cwd=ROOT, capture_output=True, text=True)
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.index("requirements.lock") < plan.stdout.index(runs)


def test_the_shell_commands_run_in_their_order(repository, environment, run):
    example_clips(repository / "my_clips")
    for command in SHELL:
        run(shlex.split(command), repository, environment)
    assert (repository / "wave.mp4").stat().st_size > 0
    assert b"stir the soup" in (repository / "stir.html").read_bytes()
    assert (repository / "stir.glb").read_bytes()[:4] == b"glTF"
    assert (repository / "data/mine.zarr").is_dir()


def test_the_python_snippets_run(repository, environment, run):
    for snippet in blocks("python"):
        run(["python", "-c", snippet], repository, environment)


@pytest.mark.parametrize("command", KEDRO)
def test_the_kedro_commands_run(command, repository, environment, run):
    """Those that are a stage's command DVC has run in this repository already: they stand in its lock file."""
    done = {stage["cmd"] for stage in yaml.safe_load((repository / "dvc.lock").read_text())["stages"].values()}
    if command not in done:
        run(shlex.split(command), repository, environment | {"KEDRO_ENV": "test"})


def test_training_runs_in_several_processes(project, environment, run):
    for command in TORCHRUN:
        small = command.replace("--env paper", "--env test").replace("--nproc_per_node 4", "--nproc_per_node 2")
        assert small != command
        run(shlex.split(small), project, environment)


@pytest.mark.parametrize("command", PIP)
def test_a_package_installs_by_itself(command, project, tmp_path, environment, run):
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", str(tmp_path)]
    run([*shlex.split(command), *options], project, environment)
    assert any(tmp_path.glob("*/__init__.py"))


def test_the_ui_opens_on_the_projects_runs(project, environment):
    (command,) = MLFLOW
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    process = subprocess.Popen(
        [*shlex.split(command), "--port", port], cwd=project, env=environment, start_new_session=True
    )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                assert process.poll() is None, "the server stopped"
                time.sleep(0.5)
        pytest.fail("the UI did not answer in five minutes")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def test_every_link_of_the_pages_leads_somewhere():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"
