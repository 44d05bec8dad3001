# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Plays a bag to the node while sensors fail, and scores the recorded masks."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit, OnShutdown
from launch.events import Shutdown
from launch.events.process import SignalProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from rgbd_seg_ros.files import InputFileError, read_yaml
from rgbd_seg_ros.replay.fault_presets import PRESETS
from rgbd_seg_ros.ros.launch_arguments import (
    check_bundle_argument,
    check_device_argument,
    parse_bool,
    unknown_arguments,
)

PREFIX = Path(get_package_prefix("rgbd_seg_ros"))
SHARE = Path(get_package_share_directory("rgbd_seg_ros"))
LOGGER = get_logger("rgbd_seg_ros")
SCORE = PREFIX / "lib" / "rgbd_seg_ros" / "replay_score"
NODE = "/segmenter"
OUTPUTS = ("mask", "confidence", "label_info", "mode", "status")
#: Period of the node's diagnostics in bag time. Their counters explain differences.
DIAGNOSTICS_PERIOD_S = 0.1
ARGUMENTS = {
    "bag": (None, "ROS 2 bag to play"),
    "faults": ("", "fault schedule or preset, as for `rgbd_seg replay --faults`"),
    "rate": ("1.0", "playback rate; use a lower one if the networks cannot keep up"),
    "out": ("", "directory for the recording and the score; empty for a temporary one"),
    "bundle": ("", "directory of the bundle; empty for the shipped one"),
    "device": ("", "auto, cpu, cuda or cuda:N; empty to use params_file"),
    "params_file": (str(SHARE / "config" / "segmenter.yaml"), "parameter file of the node"),
    "rviz": ("false", "true to show the overlay during the playback"),
}


def check_arguments(value: dict[str, str]) -> dict[str, Any]:
    """Check the arguments before anything is started; return the content of params_file.

    Raises:
        RuntimeError: an argument is wrong; launch prints one line and exits with code 1.
    """
    try:
        rate = float(value["rate"])
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise RuntimeError(f"rate:={value['rate']} must be a positive number, such as 0.5")
    parse_bool("rviz", value["rviz"])
    check_bundle_argument(value["bundle"])
    check_device_argument(value["device"])
    try:
        given = read_yaml(Path(value["params_file"]))
    except InputFileError as error:
        raise RuntimeError(f"cannot read params_file:={value['params_file']}: {error}") from error
    if not isinstance(given or {}, dict):
        raise RuntimeError(
            f"params_file:={value['params_file']} must map node names to ros__parameters"
        )
    return dict(given or {})


def processes(context: LaunchContext) -> list[Any]:
    """All processes, and the event handlers that run when one of them ends."""
    for text in unknown_arguments(sys.argv, "replay.launch.py", ARGUMENTS):
        LOGGER.warning(text)
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    given = check_arguments(value)
    out = Path(value["out"] or tempfile.mkdtemp(prefix="rgbd_seg_replay_")).resolve()
    recorded = out / "recorded"
    if recorded.exists():
        raise RuntimeError(f"out:={out} already contains a recording; choose another directory")
    bag = Path(value["bag"]).resolve()
    planning = [str(SCORE), "plan", f"--bag={bag}", f"--out={out / 'plan.json'}"]
    if faults := value["faults"]:
        planning.append(f"--faults={faults if faults in PRESETS else Path(faults).resolve()}")
    planned = subprocess.run(planning, stderr=subprocess.PIPE, text=True, check=False)
    if planned.returncode:
        raise RuntimeError(planned.stderr.strip().splitlines()[-1])
    plan = json.loads((out / "plan.json").read_text())
    for text in plan["warnings"]:
        LOGGER.warning(text)
    topics = list(plan["streams"].values())
    write_settings(out, given, plan)
    segmenter = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "seg.launch.py")),
        launch_arguments={
            "bundle": value["bundle"],
            "device": value["device"],
            "camera": str(out / "camera.yaml"),
            "params_file": str(out / "node.yaml"),
            "use_sim_time": "true",
            "rviz": value["rviz"],
        }.items(),
    )
    republisher = Node(
        package="rgbd_seg_ros",
        executable="fault_republisher",
        parameters=[{"plan": str(out / "plan.json"), "use_sim_time": True}],
        output="screen",
    )
    player = ExecuteProcess(
        cmd=[
            *("ros2", "bag", "play", str(playable(bag, out))),
            *("--clock", "250", "--rate", value["rate"]),
            *("--start-paused", "--disable-keyboard-controls"),
            *("--qos-profile-overrides-path", str(out / "player_qos.yaml")),
            # Play only these topics, because the bag may contain /clock or another node's outputs.
            *("--topics", *dict.fromkeys([*plan["inputs"].values(), "/tf", "/tf_static"])),
            *("--remap", *(f"{topic}:={plan['prefix']}{topic}" for topic in topics)),
        ],
        name="player",
        output="screen",
    )
    recorder = ExecuteProcess(
        cmd=[
            *("ros2", "bag", "record", "--storage", "mcap", "--use-sim-time"),
            *("--output", str(recorded), "--topics"),
            *(f"{NODE}/{name}" for name in OUTPUTS),
            "/diagnostics",
        ],
        name="recorder",
        output="screen",
    )
    monitor = Node(
        package="rgbd_seg_ros",
        executable="replay_monitor",
        parameters=[{"segmenter": NODE, "out": str(out), "topics": topics}],
        output="screen",
    )
    score = Node(
        package="rgbd_seg_ros",
        executable="replay_score",
        arguments=[
            *("score", f"--plan={out / 'plan.json'}", f"--recorded={recorded}"),
            *(f"--parameters={out / 'parameters.json'}", f"--out={out / 'score.json'}"),
        ],
        output="screen",
    )
    stop_recorder = EmitEvent(
        event=SignalProcess(signal_number=signal.SIGINT, process_matcher=lambda p: p is recorder)
    )
    done = EmitEvent(event=Shutdown(reason=f"the replay was scored; the results are in {out}"))
    stages: dict[Any, tuple[list[Any], str, tuple[int, ...]]] = {
        player: ([], "playing the bag failed", (0,)),
        monitor: ([stop_recorder], "the replay did not start or did not finish", (0,)),
        recorder: ([score], "recording failed", (0, 2, -2)),
        score: ([done], f"the live replay failed, see {out / 'score.json'}", (0,)),
    }
    watch = RegisterEventHandler(OnProcessExit(on_exit=lambda e, c: follow(e, c, stages)))
    end = RegisterEventHandler(OnShutdown(on_shutdown=interrupted))
    return [watch, end, segmenter, republisher, recorder, player, monitor]


def interrupted(event: Shutdown, _: LaunchContext) -> None:
    """Exit with code 1 after Ctrl-C, because the replay has not passed."""
    if event.due_to_sigint:
        raise RuntimeError("interrupted before the replay was scored")


def follow(
    event: Any, context: LaunchContext, stages: dict[Any, tuple[list[Any], str, tuple[int, ...]]]
) -> list[Any]:
    """Actions after the end of a process; an unexpected end or a failure ends the launch.

    Args:
        event: the process that ended, with its exit code.
        context: shows whether the launch is already shutting down.
        stages: for each process that may end: actions, error message and allowed exit codes.
    """
    if context.is_shutdown or event.process_name.startswith("rviz"):
        return []
    default: tuple[list[Any], str, tuple[int, ...]] = (
        [],
        "it must run until the replay is scored",
        (),
    )
    actions, failure, allowed = stages.get(event.action, default)
    if event.returncode not in allowed:
        # Only an exception makes `ros2 launch` exit with code 1.
        raise RuntimeError(
            f"{event.process_name} ended with exit code {event.returncode}: {failure}; see its "
            "log lines above"
        )
    return actions


def playable(bag: Path, out: Path) -> Path:
    """The bag; if compressed, a folder of links to it, because rosbag2 decompresses in place."""
    if not bag.is_dir() or not any(bag.glob("*.zstd")):
        return bag
    links = out / "bag"
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir()
    for file in bag.iterdir():
        (links / file.name).symlink_to(file)
    return links


def write_settings(out: Path, given: dict[str, Any], plan: dict[str, Any]) -> None:
    """Write the node's parameters, the QoS of the player and the camera profile of this bag."""
    topics = plan["streams"].values()
    # The replay compares decisions, so no message may be lost in transport.
    depths = {f"{topic}.subscription": 100 for topic in topics}
    depths |= {f"{NODE}/{name}.publisher": 100 for name in ("mask", "confidence", "status")}
    parameters: dict[str, Any] = {"diagnostic_updater.period": DIAGNOSTICS_PERIOD_S}
    for where, depth in depths.items():
        parameters[f"qos_overrides.{where}.reliability"] = "reliable"
        parameters[f"qos_overrides.{where}.depth"] = depth
    node = merged(given, {"/**": {"ros__parameters": parameters}})
    reliable = {topic: {"reliability": "reliable", "history": "keep_all"} for topic in topics}
    camera = {"prefix": "", "topics": plan["inputs"], "parameters": {}}
    for name, content in (("node", node), ("player_qos", reliable), ("camera", camera)):
        (out / f"{name}.yaml").write_text(yaml.safe_dump(content))


def merged(given: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Merge nested dictionaries; values of ``more`` take precedence."""
    result = json.loads(json.dumps(given))
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return dict(result)


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and the processes."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=processes)])
