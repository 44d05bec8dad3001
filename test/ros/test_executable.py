# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The executable: signals and one-line errors; the arguments of the launch files."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from builtin_interfaces.msg import Time
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from rosgraph_msgs.msg import Clock

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[2]
CAMERAS = sorted((ROOT / "config" / "camera").glob("*.yaml"))

SLEEPER = """
import sys, time
import numpy as np
from rgbd_seg_ros.labels import INDOOR16
from rgbd_seg_ros.ros.main import main

class Sleeper:
    labels, device, available, memory_mb = INDOOR16, "fake", ("rgbd", "rgb", "depth"), None
    need_intrinsics = ()
    def __call__(self, *args, **kwargs):
        print("in the middle of a mask", flush=True)
        time.sleep(600)

def load(bundle, *_):
    if bundle == "never":
        print("in the middle of loading", flush=True)
        time.sleep(600)
    return Sleeper()

sys.exit(main(["x", "--ros-args", "-p", "autostart:=true", "-r", "__ns:=/busy", *sys.argv[1:]],
              load=load))
"""
#: Destroying the node hangs, as it does if a driver hangs.
STUCK = """
import threading
from rgbd_seg_ros.ros.node import SegmenterNode
SegmenterNode.close = lambda self: threading.Event().wait()
"""
SIGNALS = pytest.mark.parametrize(
    "signum", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"]
)


def signalled(code: str, signum: int, client: Any, *arguments: str) -> str:
    """Send a signal while the process loads or computes a mask; return its standard error."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        client.until(lambda: "in the middle" in (process.stdout.readline() or ""))
        process.send_signal(signum)
        # The engine would take ten minutes. The two seconds are not measured, because the machine
        # may be busy; SHUTDOWN_TIMEOUT_S guarantees them.
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        return str(errors)
    finally:
        process.kill()


@SIGNALS
def test_a_signal_ends_the_node_during_inference(
    signum: int, make_client: Callable[..., Any]
) -> None:
    client = make_client("busy_client", "/busy/segmenter")
    client.send("/busy")
    assert "Traceback" not in signalled(SLEEPER, signum, client)


@SIGNALS
def test_a_signal_ends_the_node_while_it_loads(
    signum: int, make_client: Callable[..., Any]
) -> None:
    client = make_client("busy_client", "/busy/segmenter")
    assert "Traceback" not in signalled(SLEEPER, signum, client, "-p", "bundle:=never")


@SIGNALS
def test_a_signal_ends_a_node_that_hangs(signum: int, make_client: Callable[..., Any]) -> None:
    from rgbd_seg_ros.ros.main import SHUTDOWN_TIMEOUT_S

    assert SHUTDOWN_TIMEOUT_S < 2
    client = make_client("busy_client", "/busy/segmenter")
    client.send("/busy")
    assert "shutdown timed out" in signalled(STUCK + SLEEPER, signum, client)


RUNNER = f"""
import sys
sys.path.insert(0, {str(ROOT / "test")!r})
from rigs.engines import NetworkIdEngine
from rgbd_seg_ros.ros.main import main
sys.exit(main(["x", "--ros-args", "-p", "autostart:=true", "-r", "__ns:=/busy", *sys.argv[1:]],
              load=lambda *_: NetworkIdEngine()))
"""


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("diagnostic_updater.period:=.nan", "diagnostic_updater.period must be a float from 0.1"),
        ("diagnostic_updater.period:=.inf", "got inf"),
        ("diagnostic_updater.period:=-1.0", "got -1.0"),
        ("diagnostic_updater.period:=1", "got 1"),
        ("diagnostic_updater.use_fqn:=3", "expecting type 'BOOL'"),
    ],
)
def test_a_wrong_parameter_of_rclpy_or_the_updater_is_one_line(override: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, "-p", override],
        cwd=ROOT, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("segmenter: ")
    assert words in line


@pytest.mark.parametrize("kind", ["clock", "parameter"])
def test_masks_continue_after_a_message_that_raises_in_rclpy(
    kind: str, make_client: Callable[..., Any], tmp_path: Path
) -> None:
    began = time.monotonic()
    client = make_client("busy_client", "/busy/segmenter")
    client.send("/busy")
    simulated = kind == "clock"
    log = tmp_path / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, "-p", f"use_sim_time:={str(simulated).lower()}"],
            cwd=ROOT, stderr=stderr,
        )  # fmt: skip
    try:
        clock = client.node.create_publisher(Clock, "/clock", 10)
        if simulated:
            now = client.node.get_clock().now
            client.node.create_timer(0.02, lambda: clock.publish(Clock(clock=now().to_msg())))
        client.until(lambda: client.got["mask"])
        if simulated:
            clock.publish(Clock(clock=Time(sec=-5)))
        else:
            request = SetParameters.Request(
                parameters=[Parameter(name="max_age_s", value=ParameterValue(type=77))]
            )
            service = client.node.create_client(SetParameters, "/busy/segmenter/set_parameters")
            client.until(service.service_is_ready)
            for _ in range(30):
                service.call_async(request)
        client.until(lambda: "processing failed: ValueError" in log.read_text())
        assert process.poll() is None
        count = len(client.got["mask"])
        client.until(lambda: len(client.got["mask"]) > count + 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    text = log.read_text()
    assert "Traceback" not in text
    assert text.count("processing failed") <= 1 + (time.monotonic() - began) / 5  # one per 5 s


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_while_it_imports(signum: int, tmp_path: Path) -> None:
    (tmp_path / "rclpy.py").write_text(
        f"import os, threading\nos.kill(os.getpid(), {int(signum)})\nthreading.Event().wait(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ['PYTHONPATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", "rgbd_seg_ros.ros.main"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == "segmenter: stopped while starting\n"


@pytest.mark.parametrize("full", [False, True])
def test_the_last_message_is_skipped_if_writing_it_would_block(
    full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rgbd_seg_ros.ros import main

    reader, writer = os.pipe()
    if full:
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
    written: list[bytes] = []
    codes: list[int] = []
    monkeypatch.setattr(main, "STDERR", writer)
    monkeypatch.setattr(main.os, "write", lambda _, message: written.append(message))
    monkeypatch.setattr(main.os, "_exit", codes.append)
    handler = object.__new__(main.SignalHandler)  # the real one takes over the signals
    handler.exit_code = 3
    handler._exit(b"timed out\n")
    os.close(reader)
    os.close(writer)
    assert codes == [3]
    assert written == ([] if full else [b"timed out\n"])


def test_a_missing_rclpy_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "rclpy.py").write_text("raise ImportError('No module named rclpy')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ['PYTHONPATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", "rgbd_seg_ros.ros.main"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "rclpy" in line
    assert "source /opt/ros/<distro>/setup.bash" in line


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed node with `ros2 run` until it ends."""
    command = ["ros2", "run", "rgbd_seg_ros", "segmenter", "--ros-args", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def launch(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Start `ros2 launch` with seg.launch.py; stdout and stderr are combined."""
    command = ["ros2", "launch", "rgbd_seg_ros", "seg.launch.py", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_launch_from_another_directory_without_a_camera(
    tmp_path: Path, make_client: Callable[..., Any]
) -> None:
    process = launch(cwd=tmp_path)
    output = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            output += line
            if all(f"no messages on /{s}/image_raw" in output for s in ("rgb", "depth")):
                break
        assert "loading the shipped bundle" in output
        assert "networks rgbd, rgb, depth are ready" in output
        process.send_signal(signal.SIGINT)
        output += process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0, output
    # Lines are identified by their stamps: after Ctrl-C, `ros2 launch` may repeat the last ones.
    hints = set(re.findall(r"\[([\d.]+)\] \[segmenter\]: no messages on (\S+):", output))
    assert sorted(topic for _, topic in hints) == ["/depth/image_raw", "/rgb/image_raw"], output
    assert "process has finished cleanly" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("bundle:=/nowhere", ("bundle:=/nowhere", "no bundle.json")),
        ("device:=cud", ("device:=cud", "did you mean 'cuda'?")),
        ("params_file:=/nowhere.yaml", ("params_file", "/nowhere.yaml")),
        ("camera:=realsens", ("unknown camera", "did you mean 'realsense'?", "oak")),
        ("use_sim_time:=yes", ("use_sim_time:=yes", "true or false")),
        ("log_level:=loud", ("segmenter:", "loud", "ended with exit code 2")),
    ],
)
def test_a_launch_that_cannot_start_fails_with_the_reason(
    argument: str, words: tuple[str, ...]
) -> None:
    process = launch(argument)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert all(word in output for word in words), output
    assert "Traceback" not in output


def test_the_launch_file_shows_its_arguments(overlay: None) -> None:
    process = launch("--show-args")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert all(f"'{name}'" in output for name in load_launch_file("seg").ARGUMENTS)


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
    command = [sys.executable, "-m", "rgbd_seg_ros.ros.main"]
    command += ["--ros-args", "-p", "autostart:=true"]
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


def test_the_dds_configuration_is_well_formed_xml() -> None:
    root = ElementTree.parse(ROOT / "config" / "cyclonedds_local.xml").getroot()
    assert root.tag.endswith("CycloneDDS")


def test_an_unknown_camera_error_lists_the_known_ones(overlay: Path) -> None:
    with pytest.raises(RuntimeError, match="realsense"):
        load_launch_file("seg").camera_profile("kinect9", "")


def test_nothing_is_started_if_rviz_is_missing(
    monkeypatch: pytest.MonkeyPatch, overlay: Path
) -> None:
    from launch import LaunchContext

    seg = load_launch_file("seg")
    monkeypatch.setattr(seg, "get_packages_with_prefixes", dict)
    context = LaunchContext()
    context.launch_configurations.update({n: text for n, (text, _) in seg.ARGUMENTS.items()})
    assert seg.nodes(context)
    context.launch_configurations["rviz"] = "true"
    with pytest.raises(RuntimeError, match="rviz2"):
        seg.nodes(context)


@pytest.mark.parametrize("text", ["", "topics: {}", "a: [", "\tprefix: /camera"])
def test_an_invalid_camera_profile_is_one_line(text: str, overlay: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RuntimeError, match=r"mine\.yaml") as refused:
        load_launch_file("seg").camera_profile(str(path), "")
    assert "\n" not in str(refused.value)


def load_launch_file(name: str) -> Any:
    """Import a launch file."""
    import importlib.util

    path = ROOT / "launch" / f"{name}.launch.py"
    spec = importlib.util.spec_from_file_location(f"{name}_launch", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
