"""What the tests that cross packages share: copies of the project in which the pipelines have run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Run = Callable[..., subprocess.CompletedProcess]


def project_files() -> list[str]:
    """Paths of the project, without what git ignores."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file()]


def copy_project(target: Path) -> Path:
    for name in project_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture(scope="session")
def new_copy(tmp_path_factory) -> Callable[[str], Path]:
    """Copy the project, as a clone would hold it, into a folder of a name."""
    return lambda name: copy_project(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment of a user: this interpreter's commands first, nothing of the tests' own."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "KEDRO", "MLFLOW", "DVC"))}
    return keep | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command in a folder; a failure shows the end of what it printed."""

    def call(command, folder: Path, environment: dict[str, str], **options) -> subprocess.CompletedProcess:
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **options
        )
        assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        return result

    return call


@pytest.fixture(scope="session")
def project(tmp_path_factory, environment, run) -> Path:
    """A copy of the project in which `full` has run once, in the `test` environment."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    run(["kedro", "run", "--env", "test", "--pipeline", "full"], folder, environment)
    return folder


@pytest.fixture(scope="session")
def repository(tmp_path_factory, environment, run) -> Path:
    """A copy that DVC has run, the `test` environment writing where dvc.yaml expects the demo's files."""
    folder = copy_project(tmp_path_factory.mktemp("repository"))
    (folder / "conf/test/globals.yml").unlink()
    run(["git", "init", "--quiet"], folder, environment)
    run(["dvc", "repro"], folder, environment | {"KEDRO_ENV": "test"})
    return folder
