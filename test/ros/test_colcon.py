# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`colcon build` installs every file that a robot needs, and they are found from anywhere."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_BUNDLE = ROOT / "rgbd_seg_ros" / "bundles" / "default"
EXECUTABLES = {"rgbd_seg", "segmenter", "fault_republisher", "replay_monitor", "replay_score"}
NEEDED = ("launch/*.py", "config/*.*", "config/faults/*", "config/camera/*", "rviz/*")
#: Whether this Python has colcon; only then can `colcon test` run the tests with it.
OWN = importlib.util.find_spec("colcon_core") is not None
MAIN = "import sys; from colcon_core.command import main; sys.exit(main())"


def run(folder: Path, *command: str, source: Path | None = None) -> str:
    """Run a command in a folder, after sourcing a workspace, and return its output."""
    env = dict(os.environ)
    if source is not None:
        env.pop("PYTHONPATH", None)  # the checkout must not be found
        command = ("bash", "-c", 'source "$0" && exec "$@"', str(source), *command)
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def colcon(workspace: Path, *arguments: str) -> str:
    """Run colcon."""
    command = (sys.executable, "-c", MAIN) if OWN else ("colcon",)
    return run(workspace, *command, *arguments)


@pytest.fixture(scope="module", params=[(), ("--symlink-install",)], ids=["plain", "symlink"])
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the package was built from the files known to git."""
    if not OWN and shutil.which("colcon") is None:
        pytest.skip("needs colcon: pip install colcon-common-extensions")
    folder = tmp_path_factory.mktemp("workspace")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode:
        pytest.skip("needs a git checkout to find the files of the package")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            target = folder / "src" / "rgbd_seg_ros" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    colcon(folder, "build", *request.param)
    return folder


def test_all_needed_files_are_installed(workspace: Path) -> None:
    prefix = workspace / "install" / "rgbd_seg_ros"
    share = prefix / "share" / "rgbd_seg_ros"
    for pattern in NEEDED:
        for path in ROOT.glob(pattern):
            assert (share / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    assert (share / "package.xml").is_file()
    assert (prefix / "share/ament_index/resource_index/packages/rgbd_seg_ros").is_file()
    for name in EXECUTABLES:
        assert os.access(prefix / "lib" / "rgbd_seg_ros" / name, os.X_OK), name


def test_the_default_bundle_is_found_from_another_directory(
    workspace: Path, tmp_path: Path
) -> None:
    code = "import rgbd_seg_ros; print(rgbd_seg_ros.__path__[0])"
    shown = run(tmp_path, sys.executable, "-c", code, source=workspace / "install" / "setup.bash")
    package = Path(shown.strip())
    assert package.resolve().is_relative_to(workspace)
    for file in DEFAULT_BUNDLE.iterdir():
        assert (package / "bundles" / "default" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.ros
def test_ros2_finds_the_package_from_another_directory(workspace: Path, tmp_path: Path) -> None:
    setup = workspace / "install" / "setup.bash"
    command = ("ros2", "pkg", "executables", "--full-path", "rgbd_seg_ros")
    listed = [Path(line) for line in run(tmp_path, *command, source=setup).splitlines()]
    assert {path.name for path in listed} == EXECUTABLES
    assert all(path.is_relative_to(workspace) for path in listed)
    for name in ("seg", "replay"):
        command = ("ros2", "launch", "rgbd_seg_ros", f"{name}.launch.py", "--show-args")
        assert "'bundle':" in run(tmp_path, *command, source=setup)


def test_colcon_test_runs_the_tests(workspace: Path) -> None:
    if not OWN:
        pytest.skip("this Python has no colcon: pip install colcon-common-extensions")
    colcon(
        workspace, "test", "--return-code-on-test-failure", "--pytest-args", "test/test_labels.py"
    )
    assert " 0 tests" not in colcon(workspace, "test-result", "--all")
