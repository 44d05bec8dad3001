# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Starts the segmenter for a camera, optionally with RViz."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory, get_packages_with_prefixes
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.events.process import ProcessExited
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from launch import LaunchContext, LaunchDescription
from rgbd_seg_ros.files import InputFileError, read_yaml
from rgbd_seg_ros.names import unknown_name
from rgbd_seg_ros.ros.launch_arguments import (
    check_bundle_argument,
    check_device_argument,
    parse_bool,
    unknown_arguments,
)

SHARE = Path(get_package_share_directory("rgbd_seg_ros"))
LOGGER = get_logger("rgbd_seg_ros")
CAMERAS = {path.stem: path for path in sorted((SHARE / "config" / "camera").glob("*.yaml"))}

ARGUMENTS = {
    "bundle": ("", "directory of the bundle; empty for the shipped one"),
    "device": ("", "auto, cpu, cuda or cuda:N; empty to use params_file"),
    "camera": (
        "",
        f"camera profile: {', '.join(CAMERAS)}, or a YAML file like those in config/camera; "
        "empty for the topics rgb/image_raw and depth/image_raw in the namespace",
    ),
    "camera_prefix": ("", "prefix of the camera topics; empty to use the profile's"),
    "namespace": ("", "namespace of the node"),
    "name": ("segmenter", "name of the node"),
    "params_file": (str(SHARE / "config" / "segmenter.yaml"), "parameter file of the node"),
    "use_sim_time": ("false", "true for simulation and for bags played with --clock"),
    "rviz": ("false", "true to start RViz with the camera image and the overlay"),
    "log_level": ("info", "debug, info, warn or error"),
    "enclave": ("", "SROS 2 enclave of the node, for example /robot/segmenter"),
    "autostart": ("true", "false to let a lifecycle manager configure and activate the node"),
}


def camera_profile(camera: str, prefix: str) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Read the remappings and parameters of a camera profile.

    Args:
        camera: name of a profile or path of a YAML file; empty for none.
        prefix: prefix of the camera topics; empty to use the profile's.

    Raises:
        RuntimeError: the name is unknown, or the file is not a camera profile.
    """
    if not camera:
        return [], {}
    path = CAMERAS.get(camera, Path(camera))
    if not path.is_file():
        raise RuntimeError(
            f"{unknown_name('camera', camera, CAMERAS)}, or pass the path of a YAML file"
        )
    try:
        profile = read_yaml(path)
    except InputFileError as error:
        raise RuntimeError(str(error)) from error
    if not isinstance(profile, dict) or not {"prefix", "topics", "parameters"} <= profile.keys():
        raise RuntimeError(
            f"{path} is not a camera profile: it must have prefix, topics and parameters, like "
            f"{CAMERAS['realsense']}"
        )
    prefix = (prefix or profile["prefix"]).rstrip("/")
    topics = profile["topics"].items()
    # Absolute topics get no prefix.
    remappings = [(ours, t if t.startswith("/") else f"{prefix}/{t}") for ours, t in topics]
    return remappings, profile["parameters"]


def nodes(context: LaunchContext) -> list[Any]:
    """The node and RViz, from the values of the arguments."""
    for text in unknown_arguments(sys.argv, "seg.launch.py", ARGUMENTS):
        LOGGER.warning(text)
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    on = {name: parse_bool(name, value[name]) for name in ("use_sim_time", "autostart", "rviz")}
    if on["rviz"] and "rviz2" not in get_packages_with_prefixes():
        # Otherwise launch fails after it has started the node, and leaves it running.
        raise RuntimeError("rviz:=true requires the package rviz2, which is not installed")
    remappings, camera_parameters = camera_profile(value["camera"], value["camera_prefix"])
    if not Path(value["params_file"]).is_file():
        raise RuntimeError(f"params_file:={value['params_file']} is not a file")
    check_bundle_argument(value["bundle"])
    check_device_argument(value["device"])
    parameters: list[Any] = [value["params_file"], camera_parameters]
    parameters.append({name: on[name] for name in ("use_sim_time", "autostart")})
    for name in ("bundle", "device"):
        if value[name]:  # a string, even if it looks like a number
            parameters.append({name: ParameterValue(value[name], value_type=str)})
    # A launch file that includes this one may have pushed a namespace.
    outer = context.launch_configurations.get("ros_namespace")
    namespace = make_namespace_absolute(prefix_namespace(outer, value["namespace"])) or "/"
    node = f"{namespace.rstrip('/')}/{value['name']}"
    logger = node.strip("/").replace("/", ".")
    ros_arguments = ["--log-level", f"{logger}:={value['log_level']}"]
    if value["enclave"]:
        ros_arguments += ["--enclave", value["enclave"]]
    image = dict(remappings).get("rgb/image_raw", f"{namespace.rstrip('/')}/rgb/image_raw")
    return [
        # Node rather than LifecycleNode, because the segmenter activates itself, and
        # LifecycleNode adds a ROS node to the launch process, which doubles its shutdown time.
        Node(
            package="rgbd_seg_ros",
            executable="segmenter",
            name=value["name"],
            namespace=value["namespace"],
            parameters=[entry for entry in parameters if entry],
            remappings=remappings,
            ros_arguments=ros_arguments,
            output="screen",
            emulate_tty=True,
            on_exit=on_exit,
        ),
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz",
            namespace=value["namespace"],
            arguments=["-d", str(SHARE / "rviz" / "seg.rviz")],
            remappings=[("/rgb/image_raw", image), ("/segmenter/overlay", f"{node}/overlay")],
            parameters=[{"use_sim_time": on["use_sim_time"]}],
            condition=IfCondition(str(on["rviz"])),
        ),
    ]


def on_exit(event: ProcessExited, context: LaunchContext) -> None:
    """End the launch with exit code 1 if the node has failed."""
    if event.returncode and not context.is_shutdown:
        # Only an exception makes `ros2 launch` exit with code 1.
        raise RuntimeError(
            f"the segmenter ended with exit code {event.returncode}; see its last log line"
        )


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and the nodes."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])
