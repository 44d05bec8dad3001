# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The segmenter for a camera, with RViz if asked: `ros2 launch rgbd_seg_ros seg.launch.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_package_share_directory, get_packages_with_prefixes
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from launch import LaunchContext, LaunchDescription

SHARE = Path(get_package_share_directory("rgbd_seg_ros"))
CAMERAS = {path.stem: path for path in sorted((SHARE / "config" / "camera").glob("*.yaml"))}

ARGUMENTS = {
    "bundle": ("", "directory of the trained networks; the shipped one when empty"),
    "device": ("", "auto, cpu, cuda or cuda:N; as in params_file when empty"),
    "camera": (
        "",
        f"camera profile: {', '.join(CAMERAS)}, or the path of a YAML like config/camera/*.yaml; "
        "when empty the topics are rgb/image_raw and depth/image_raw in the namespace",
    ),
    "camera_prefix": ("", "start of the camera's topics, when not the profile's own"),
    "namespace": ("", "namespace of the node"),
    "name": ("segmenter", "name of the node"),
    "params_file": (str(SHARE / "config" / "segmenter.yaml"), "parameters of the node"),
    "use_sim_time": ("false", "true in simulation and for a bag played with --clock"),
    "rviz": ("false", "true starts RViz with the camera image, the overlay and the mode"),
    "log_level": ("info", "debug, info, warn, error"),
    "enclave": ("", "SROS 2 enclave of the node, for example /robot/segmenter"),
    "autostart": ("true", "false leaves configure and activate to a lifecycle manager"),
}


def camera_profile(camera: str, prefix: str) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """A profile's remappings and parameters.

    Raises:
        RuntimeError: an unknown name, with the known ones, or a file that is no profile.
    """
    if not camera:
        return [], {}
    path = CAMERAS.get(camera, Path(camera))
    if not path.is_file():
        raise RuntimeError(
            f"unknown camera {camera!r}; known: {', '.join(CAMERAS)}, or give the path of a YAML"
        )
    try:
        profile = yaml.safe_load(path.read_text())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RuntimeError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(profile, dict) or not {"prefix", "topics", "parameters"} <= profile.keys():
        raise RuntimeError(
            f"{path} is no camera profile: it must have prefix, topics and parameters, as "
            f"{CAMERAS['realsense']} has"
        )
    prefix = (prefix or profile["prefix"]).rstrip("/")
    topics = profile["topics"].items()
    # A topic that begins with / is complete by itself.
    remappings = [(ours, t if t.startswith("/") else f"{prefix}/{t}") for ours, t in topics]
    return remappings, profile["parameters"]


def switch(name: str, value: str) -> bool:
    """An argument that is true or false.

    Raises:
        RuntimeError: it is neither; launch prints that as one line and exits with code 1.
    """
    if value.lower() not in ("true", "false"):
        raise RuntimeError(f"{name}:={value} must be true or false")
    return value.lower() == "true"


def nodes(context: LaunchContext) -> list[Any]:
    """The node and RViz, with every argument resolved."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    on = {name: switch(name, value[name]) for name in ("use_sim_time", "autostart", "rviz")}
    if on["rviz"] and "rviz2" not in get_packages_with_prefixes():
        # Else launch finds out when the node runs already, and leaves it behind.
        raise RuntimeError("rviz:=true needs the package rviz2, which is not installed")
    remappings, camera_parameters = camera_profile(value["camera"], value["camera_prefix"])
    if not Path(value["params_file"]).is_file():
        raise RuntimeError(f"params_file {value['params_file']!r} is no file")
    if value["bundle"] and not (Path(value["bundle"]) / "bundle.json").is_file():
        # The node says the same, but seconds later: it imports PyTorch first.
        raise RuntimeError(
            f"bundle:={value['bundle']} is no bundle: it has no bundle.json; make one with "
            "`python -m training.bundle`, or leave it out for the shipped one"
        )
    parameters: list[Any] = [value["params_file"], camera_parameters]
    parameters.append({name: on[name] for name in ("use_sim_time", "autostart")})
    for name in ("bundle", "device"):
        if value[name]:  # text, even where it looks like a number
            parameters.append({name: ParameterValue(value[name], value_type=str)})
    # An including launch file may have pushed a namespace of its own.
    outer = context.launch_configurations.get("ros_namespace")
    namespace = make_namespace_absolute(prefix_namespace(outer, value["namespace"])) or "/"
    node = f"{namespace.rstrip('/')}/{value['name']}"
    logger = node.strip("/").replace("/", ".")
    ros_arguments = ["--log-level", f"{logger}:={value['log_level']}"]
    if value["enclave"]:
        ros_arguments += ["--enclave", value["enclave"]]
    image = dict(remappings).get("rgb/image_raw", f"{namespace.rstrip('/')}/rgb/image_raw")
    return [
        # The plain action, not LifecycleNode: the node starts itself, and that one adds a ROS node
        # to the launch, which then takes twice as long to end.
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
    """Ends the launch with exit code 1 when the node ended by itself with an error."""
    if event.returncode and not context.is_shutdown:
        # An exception is the one thing that makes `ros2 launch` exit with 1.
        raise RuntimeError(
            f"the segmenter ended with exit code {event.returncode}; its last line says why"
        )


def generate_launch_description() -> LaunchDescription:
    """Arguments and nodes; `--show-args` lists them."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])
