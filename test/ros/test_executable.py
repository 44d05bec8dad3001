# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The executable by itself: signals, one-line errors; and the arguments of the launch files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[2]
CAMERAS = sorted((ROOT / "config" / "camera").glob("*.yaml"))

SLEEPER = """
import sys, time
import numpy as np
from rgbd_seg_ros.labels import INDOOR16
from rgbd_seg_ros.ros.main import main

class Sleeper:
    labels, device, available, memory_mb = INDOOR16, "stand-in", ("rgbd", "rgb", "depth"), None
    def __call__(self, *args, **kwargs):
        print("in the middle of a mask", flush=True)
        time.sleep(600)

sys.exit(main(["x", "--ros-args", "-p", "autostart:=true", "-r", "__ns:=/busy"],
              build=lambda config: Sleeper()))
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_node_in_mid_inference(
    signum: int, make_client: Callable[..., Any]
) -> None:
    client = make_client("busy_client", "/busy/segmenter")
    client.send("/busy")
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        client.until(lambda: "in the middle" in (process.stdout.readline() or ""))
        process.send_signal(signum)
        assert process.wait(10) == 0
    finally:
        process.kill()


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rgbd_seg_ros.ros.main", "--ros-args", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_bad_parameter_is_one_line() -> None:
    done = run_node("-p", "black_mean:=900.0")
    assert done.returncode == 2
    assert "black_mean" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_bundle_is_one_line() -> None:
    done = run_node("-p", "bundle:=/nowhere", "-p", "autostart:=true")
    assert done.returncode == 1
    assert "cannot configure" in done.stderr
    assert "/nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_torch_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('No module named torch')")
    command = [
        sys.executable,
        "-m",
        "rgbd_seg_ros.ros.main",
        "--ros-args",
        "-p",
        "autostart:=true",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ['PYTHONPATH']}"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "pytorch.org" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("profile", CAMERAS, ids=lambda path: path.stem)
def test_camera_profiles_map_every_input(profile: Path, overlay: Path) -> None:
    seg = load_launch_file("seg")
    remappings, parameters = seg.camera_profile(profile.stem, "")
    inputs = {f"{s}/{t}" for s in ("rgb", "depth") for t in ("image_raw", "camera_info")}
    assert {ours for ours, _ in remappings} >= inputs
    assert all(theirs.startswith("/") for _, theirs in remappings)
    assert isinstance(parameters, dict)
    moved, _ = seg.camera_profile(str(profile), "/left/cam/")
    assert all(theirs.startswith("/left/cam/") for _, theirs in moved)


def test_unknown_camera_lists_the_known_ones(overlay: Path) -> None:
    with pytest.raises(RuntimeError, match="realsense"):
        load_launch_file("seg").camera_profile("kinect9", "")


def load_launch_file(name: str) -> Any:
    """A launch file as a module."""
    import importlib.util

    path = ROOT / "launch" / f"{name}.launch.py"
    spec = importlib.util.spec_from_file_location(f"{name}_launch", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
