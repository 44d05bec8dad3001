# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A bag through the live node while sensors fail; recorded, scored, with an exit code."""

from __future__ import annotations

import json
import signal
import subprocess
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
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import SignalProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

PREFIX = Path(get_package_prefix("rgbd_seg_ros"))
SHARE = Path(get_package_share_directory("rgbd_seg_ros"))
NODE = "/segmenter"
OUTPUTS = ("mask", "confidence", "label_info", "mode", "status")
ARGUMENTS = {
    "bag": (None, "the bag to play"),
    "faults": ("", "fault schedule, as for `rgbd_seg replay --faults`"),
    "rate": ("1.0", "speed of the playback"),
    "out": ("", "where recording and score go; a new temporary directory when empty"),
    "bundle": ("", "directory of the trained networks; the shipped one when empty"),
    "params_file": (str(SHARE / "config" / "segmenter.yaml"), "parameters of the node"),
    "rviz": ("false", "true shows the overlay while the bag plays"),
}


def processes(context: LaunchContext) -> list[Any]:
    """Player, republisher, node, recorder, monitor, and what follows when each ends."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    out = Path(value["out"] or tempfile.mkdtemp(prefix="rgbd_seg_replay_")).resolve()
    recorded, parameters = out / "recorded", out / "parameters.json"
    if recorded.exists():
        raise RuntimeError(f"{recorded} exists; give another out:=")
    out.mkdir(parents=True, exist_ok=True)
    bag = Path(value["bag"]).resolve()
    faults = str(Path(value["faults"]).resolve()) if value["faults"] else ""
    look = [str(PREFIX / "lib" / "rgbd_seg_ros" / "replay_score"), "--look", f"--bag={bag}"]
    seen = subprocess.run(look, capture_output=True, text=True, check=False)
    if seen.returncode:
        raise RuntimeError(seen.stderr.strip())
    plan = json.loads(seen.stdout)
    streams = plan["streams"]
    # The comparison is of decisions: nothing may be lost on the way.
    overrides = {
        "/**": {
            "ros__parameters": {
                f"qos_overrides.{topic}.subscription.{policy}": setting
                for topic in streams.values()
                for policy, setting in (("reliability", "reliable"), ("depth", 100))
            }
        }
    }
    given = yaml.safe_load(Path(value["params_file"]).read_text()) or {}
    (out / "node.yaml").write_text(yaml.safe_dump(merged(given, overrides)))
    reliable = {t: {"reliability": "reliable", "history": "keep_all"} for t in streams.values()}
    (out / "player_qos.yaml").write_text(yaml.safe_dump(reliable))
    camera = {"prefix": "", "topics": plan["inputs"], "parameters": {}}
    (out / "camera.yaml").write_text(yaml.safe_dump(camera))
    segmenter = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "seg.launch.py")),
        launch_arguments={
            "bundle": value["bundle"],
            "camera": str(out / "camera.yaml"),
            "params_file": str(out / "node.yaml"),
            "use_sim_time": "true",
            "rviz": value["rviz"],
        }.items(),
    )
    republisher = Node(
        package="rgbd_seg_ros",
        executable="fault_republisher",
        parameters=[
            {"faults": faults, "start_ns": plan["start_ns"], "use_sim_time": True, **streams}
        ],
        output="screen",
    )
    player = ExecuteProcess(
        cmd=[
            *("ros2", "bag", "play", str(bag), "--clock", "250", "--rate", value["rate"]),
            *("--start-paused", "--disable-keyboard-controls"),
            *("--qos-profile-overrides-path", str(out / "player_qos.yaml"), "--remap"),
            *(f"{topic}:={plan['prefix']}{topic}" for topic in streams.values()),
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
    first, last = (
        Node(
            package="rgbd_seg_ros",
            executable="replay_monitor",
            name=f"replay_{stage}",
            parameters=[
                {"stage": stage, "segmenter": NODE, "out": str(out)},
                {"topics": list(streams.values())},
            ],
            output="screen",
        )
        for stage in ("start", "end")
    )
    paths = {"bag": bag, "recorded": recorded, "parameters": parameters, "out": out / "score.json"}
    arguments = [f"--{name}={path}" for name, path in paths.items()]
    arguments += [f"--{stream.replace('_', '-')}={topic}" for stream, topic in streams.items()]
    arguments += [f"--faults={faults}"] if faults else []
    score = Node(
        package="rgbd_seg_ros",
        executable="replay_score",
        name="replay_score",
        arguments=arguments,
        output="screen",
    )
    stop_recorder = EmitEvent(
        event=SignalProcess(signal_number=signal.SIGINT, process_matcher=lambda p: p is recorder)
    )
    done = EmitEvent(event=Shutdown(reason=f"the replay is scored; its results are in {out}"))
    return [
        segmenter,
        republisher,
        recorder,
        player,
        first,
        after(first, [], "the replay could not start"),
        after(player, [last], "the bag could not be played"),
        after(last, [stop_recorder], "the outputs did not end"),
        after(recorder, [score], "the recording failed", allowed=(0, 2, -2)),
        after(score, [done], f"live and offline replay differ, see {out / 'score.json'}"),
    ]


def after(
    process: ExecuteProcess, actions: list[Any], complaint: str, allowed: tuple[int, ...] = (0,)
) -> RegisterEventHandler:
    """What follows a process; its failure ends the launch with exit code 1."""

    def proceed(event: Any, context: LaunchContext) -> list[Any]:
        if context.is_shutdown:
            return []
        if event.returncode not in allowed:
            # An exception is the one thing that makes `ros2 launch` exit with 1.
            raise RuntimeError(f"{complaint} (exit code {event.returncode})")
        return actions

    return RegisterEventHandler(OnProcessExit(target_action=process, on_exit=proceed))


def merged(given: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries as one; ``more`` wins."""
    result = json.loads(json.dumps(given))
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return dict(result)


def generate_launch_description() -> LaunchDescription:
    """Arguments and processes; `--show-args` lists the former."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=processes)])
