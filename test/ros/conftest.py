# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A private ROS graph on this machine alone, an installed overlay, cameras and listeners."""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pytest_configure() -> None:
    """Before any rclpy.init: a domain of its own, loopback only."""
    os.environ.setdefault("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    os.environ["CYCLONEDDS_URI"] = f"file://{ROOT}/config/cyclonedds_local.xml"
    # Two runs of the tests on one machine must not hear each other.
    os.environ["ROS_DOMAIN_ID"] = str(10 + os.getpid() % 80)


@pytest.fixture(scope="session", autouse=True)
def ros_logs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Logs of every node of the tests go to the run's own folder."""
    os.environ["ROS_LOG_DIR"] = str(tmp_path_factory.mktemp("ros_logs"))


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as an installed package, so that launch files and executables are found."""
    prefix = tmp_path_factory.mktemp("overlay")
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "rgbd_seg_ros").touch()
    share = prefix / "share" / "rgbd_seg_ros"
    share.mkdir()
    for name in ("package.xml", "launch", "config", "rviz"):
        (share / name).symlink_to(ROOT / name)
    executables = prefix / "lib" / "rgbd_seg_ros"
    executables.mkdir(parents=True)
    text = (ROOT / "setup.py").read_text()
    for name, module, function in re.findall(r'"(\w+) = ([\w.]+):(\w+)"', text):
        script = executables / name
        script.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"from {module} import {function}\nsys.exit({function}())\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    os.environ["AMENT_PREFIX_PATH"] = f"{prefix}:{os.environ['AMENT_PREFIX_PATH']}"
    return prefix


@pytest.fixture(scope="session")
def bundle_dir(tiny_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random bundle on disk."""
    from rgbd_seg_ros.bundle import save_bundle

    return save_bundle(tmp_path_factory.mktemp("bundle"), tiny_bundle)


@pytest.fixture(scope="session")
def ros_context() -> Iterator[None]:
    """rclpy, initialised once for all tests of this process."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
    rclpy.init()
    yield
    rclpy.try_shutdown()


def until(condition: Callable[[], Any], step: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Step until ``condition`` holds; fails, naming it, when it does not in ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout_s} s: {condition}"
        step()
    return value
