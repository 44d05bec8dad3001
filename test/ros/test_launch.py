# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""seg.launch.py with real networks: masks, latched topics, parameters, services, clean exit."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

import launch_testing
import rclpy
from ament_index_python.packages import get_package_share_directory
from diagnostic_msgs.msg import DiagnosticArray
from launch.actions import GroupAction, IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnShutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rigs.bundles import save_tiny_bundle
from rigs.graph import Client, install_overlay
from std_srvs.srv import SetBool

import launch


@pytest.mark.launch_test
@pytest.mark.ros
def generate_test_description() -> launch.LaunchDescription:
    """Include the launch file twice, in two namespaces, with a tiny bundle."""
    folder = Path(tempfile.mkdtemp(prefix="rgbd_seg_launch_"))
    install_overlay(folder)
    bundle = save_tiny_bundle(folder / "bundle")
    share = get_package_share_directory("rgbd_seg_ros")

    def seg(**more: str) -> IncludeLaunchDescription:
        arguments = {"bundle": str(bundle), "device": "cpu", "log_level": "debug", **more}
        return IncludeLaunchDescription(
            PythonLaunchDescriptionSource(f"{share}/launch/seg.launch.py"),
            launch_arguments=arguments.items(),
        )

    return launch.LaunchDescription(
        [
            GroupAction([seg(namespace="front", enclave="/front/eyes")]),
            GroupAction([PushRosNamespace("robot"), seg(namespace="rear")]),
            launch_testing.actions.ReadyToTest(),
            RegisterEventHandler(OnShutdown(on_shutdown=lambda *_: shutil.rmtree(folder))),
        ]
    )


class TestNode(unittest.TestCase):
    """Tests while the launch file runs."""

    client: Client
    own_context: bool

    @classmethod
    def setUpClass(cls) -> None:
        cls.own_context = not rclpy.ok()
        if cls.own_context:
            rclpy.init()
        cls.client = Client("launch_client", "/front/segmenter")
        cls.client.send("/front")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.client.close()
        if cls.own_context:
            rclpy.shutdown()

    def fused(self) -> None:
        """Wait until both streams are fused."""
        got = self.client.got
        self.client.until(lambda: got["mask"] and got["mode"] and got["mode"][-1].data == "RGBD")

    def test_masks_arrive(self) -> None:
        self.fused()
        mask = self.client.got["mask"][-1]
        stamp = mask.header.stamp.sec * 10**9 + mask.header.stamp.nanosec
        assert stamp in self.client.sent
        assert (mask.encoding, mask.height, mask.width) == ("mono8", 48, 64)
        assert max(mask.data) < 16
        self.client.until(lambda: self.client.got["overlay"])
        assert self.client.got["overlay"][-1].encoding == "rgb8"

    def test_late_subscriber_gets_labels_and_mode(self) -> None:
        self.fused()
        late = Client("late_client", "/front/segmenter")
        late.until(lambda: late.got["label_info"] and late.got["mode"])
        classes = {c.class_id: c.class_name for c in late.got["label_info"][0].class_map}
        assert classes[0] == "floor"
        assert len(classes) == 16
        assert late.got["mode"][-1].data == "RGBD"
        late.close()

    def set_parameter(self, name: str, value: str) -> Any:
        content = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=content)])
        return self.client.call(SetParameters, "set_parameters", request).results[0]

    def mode(self, mode: str) -> None:
        self.client.until(lambda: self.client.got["mode"][-1].data == mode)

    def test_parameters_can_be_read_and_set(self) -> None:
        self.fused()
        assert self.set_parameter("force_network", "rgb").successful
        self.mode("RGB_ONLY")
        wrong = self.set_parameter("force_network", "lidar")
        assert not wrong.successful
        assert "rgbd, rgb, depth" in wrong.reason
        assert self.set_parameter("force_network", "auto").successful
        self.mode("RGBD")
        late = self.set_parameter("bundle", "/elsewhere")
        assert not late.successful
        assert "cleanup" in late.reason
        request = DescribeParameters.Request(names=["black_mean", "autostart"])
        described = self.client.call(DescribeParameters, "describe_parameters", request)
        assert described.descriptors[0].floating_point_range[0].to_value == 255
        assert described.descriptors[1].read_only

    def test_services_respond(self) -> None:
        self.fused()
        state = self.client.call(GetState, "get_state", GetState.Request())
        assert state.current_state.label == "active"
        off, on = SetBool.Request(data=False), SetBool.Request(data=True)
        assert self.client.call(SetBool, "set_enabled", off).success
        self.mode("NO_INPUT")
        assert self.client.call(SetBool, "set_enabled", on).success
        self.mode("RGBD")

    def test_nodes_in_two_namespaces_are_independent(self) -> None:
        self.fused()
        rear = Client("rear_client", "/robot/rear/segmenter")
        rear.send("/robot/rear")
        rear.until(lambda: rear.got["mask"] and rear.got["label_info"])
        stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in rear.got["mask"]]
        assert set(stamps) <= set(rear.sent)
        assert not set(stamps) & set(self.client.sent)
        names: set[str] = set()
        rear.node.create_subscription(
            DiagnosticArray, "/diagnostics", lambda m: names.update(s.name for s in m.status), 10
        )
        wanted = {f"{n}/segmenter: segmentation" for n in ("/front", "/robot/rear")}
        rear.until(lambda: names >= wanted)
        rear.close()

    def test_log_level_reaches_a_node_in_a_namespace(self, proc_output: Any) -> None:
        for logger in ("front.segmenter", "robot.rear.segmenter"):
            proc_output.assertWaitFor(f"[{logger}]: NodeConfig(", timeout=40, stream="stderr")

    def test_the_node_uses_the_given_enclave(self) -> None:
        def found() -> bool:
            nodes = self.client.node.get_node_names_and_namespaces_with_enclaves()
            return ("segmenter", "/front", "/front/eyes") in nodes

        self.client.until(found)


@launch_testing.post_shutdown_test()
class TestExit(unittest.TestCase):
    """Tests after the shutdown of the launch file."""

    def test_exit_is_clean(self, proc_info: Any) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
