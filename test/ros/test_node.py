# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node with working cameras: outputs, lifecycle, transports, hints for setup errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rigs.graph import wait_for_log
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool

from rgbd_seg_ros.ros import diagnostics
from rgbd_seg_ros.ros import subscription_hints as hints
from rgbd_seg_ros.ros.inputs import Inputs

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[2]

# --- Outputs ---------------------------------------------------------------------------------


def test_debug_images_are_published_to_subscribers(rig: Any) -> None:
    got: dict[str, list[Image]] = {"confidence": [], "overlay": [], "color_mask": []}
    count = len(rig.masks)
    rig.until(lambda: len(rig.masks) > count + 3)
    subscriptions = [
        rig.listener.create_subscription(Image, f"segmenter/{name}", got[name].append, 10)
        for name in got
    ]
    rig.until(lambda: all(got.values()))
    assert got["confidence"][-1].encoding == "mono8"
    assert set(got["confidence"][-1].data) == {200}
    for name in ("overlay", "color_mask"):
        image = got[name][-1]
        assert (image.encoding, image.height, image.width) == ("rgb8", 48, 64)
        assert image.header.frame_id == "camera"
    color = tuple(got["color_mask"][-1].data[:3])
    assert color == rig.engine.labels.palette[0]
    for subscription in subscriptions:
        rig.listener.destroy_subscription(subscription)


def test_overlay_rate_is_limited_and_can_be_changed(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(overlay_rate_hz=0.1)
    got: list[Image] = []

    def keep(image: Image) -> None:
        stamp = image.header.stamp
        if stamp.sec * 10**9 + stamp.nanosec in rig.sent["rgb"]:  # not a placeholder
            got.append(image)

    rig.listener.create_subscription(Image, "segmenter/overlay", keep, 10)
    rig.activate()
    rig.until(lambda: got)
    count = len(rig.masks)
    rig.until(lambda: len(rig.masks) > count + 20)
    assert len(got) == 1
    rig.node._outputs._debug_images_due_s = 0.0
    rig.node.set_parameters([Parameter("overlay_rate_hz", value=1000.0)])
    rig.until(lambda: len(got) > 5)


def endpoints(rig: Any, kind: str, topic: str) -> list[Any]:
    """The publishers or subscriptions of a topic, once there are any."""
    get_info = getattr(rig.listener, f"get_{kind}_info_by_topic")
    return list(rig.until(lambda: get_info(topic)))


OUTPUTS = {
    "mask": ("sensor_msgs/msg/Image", "VOLATILE"),
    "label_info": ("vision_msgs/msg/LabelInfo", "TRANSIENT_LOCAL"),
    "confidence": ("sensor_msgs/msg/Image", "VOLATILE"),
    "overlay": ("sensor_msgs/msg/Image", "VOLATILE"),
    "color_mask": ("sensor_msgs/msg/Image", "VOLATILE"),
    "mode": ("std_msgs/msg/String", "TRANSIENT_LOCAL"),
    "status": ("diagnostic_msgs/msg/DiagnosticArray", "VOLATILE"),
}
INPUTS = ("rgb", "depth", "depth_raw")


def test_topics_types_and_qos_are_as_documented(rig: Any) -> None:
    for name, (kind, durability) in OUTPUTS.items():
        (info,) = endpoints(rig, "publishers", f"/segmenter/{name}")
        assert (info.topic_type, info.qos_profile.durability.name) == (kind, durability)
        assert info.qos_profile.reliability.name == "RELIABLE"
    for stream in INPUTS:
        for topic, kind in (("image_raw", "Image"), ("camera_info", "CameraInfo")):
            (info,) = endpoints(rig, "subscriptions", f"/{stream}/{topic}")
            assert info.topic_type == f"sensor_msgs/msg/{kind}"
            assert info.qos_profile.reliability.name == "BEST_EFFORT"
            assert info.qos_profile.durability.name == "VOLATILE"
    text = (ROOT / "docs" / "ros.md").read_text()
    assert all(f"`~/{name}`" in text for name in OUTPUTS)
    assert all(f"`{stream}/camera_info`" in text for stream in INPUTS)


def test_label_info_and_mode_are_latched(rig: Any) -> None:
    late: list[Any] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    from std_msgs.msg import String
    from vision_msgs.msg import LabelInfo

    rig.listener.create_subscription(LabelInfo, "segmenter/label_info", late.append, latched)
    rig.listener.create_subscription(String, "segmenter/mode", late.append, latched)
    rig.until(lambda: len(late) == 2)


def test_diagnostics_report_rates_counts_and_latency(rig: Any) -> None:
    rig.diagnostics.clear()
    rig.until(lambda: len(rig.diagnostics) >= 2)
    values = {v.key: v.value for v in rig.diagnostics[-1].values}
    assert rig.diagnostics[-1].level == b"\x00"
    assert rig.diagnostics[-1].message == "RGBD: color and depth are fused"
    assert float(values["rate_rgb_hz"]) > 5
    assert int(values["rgb_offered"]) >= int(values["rgb_used"]) > 0
    assert float(values["latency_p50_ms"]) <= float(values["latency_p99_ms"])
    assert values["device"] == "fake"
    assert values["backend"] == "rgbd: a fake"
    assert values["networks"] == "rgbd rgb depth"


def test_intrinsics_reach_the_engine(rig: Any) -> None:
    publisher = rig.camera.create_publisher(CameraInfo, "rgb/camera_info", 5)
    info = CameraInfo(width=64, height=48)
    info.k = [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]
    timer = rig.camera.create_timer(0.05, lambda: publisher.publish(info))
    rig.until(lambda: rig.engine.calls[-1]["intrinsics"] is not None)
    assert rig.engine.calls[-1]["intrinsics"].fx == 50.0
    timer.cancel()


def test_the_engine_receives_rgb_order_and_meters(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(depth_scale=0.0001, max_depth_m=0.3)
    sent = {}

    def bgr(number: int) -> Image:
        sent["rgb"] = rig.rng.integers(30, 220, (48, 64, 3), dtype=np.uint8)
        return rig.image(np.ascontiguousarray(sent["rgb"][..., ::-1]), "bgr8")

    rig.rgb = bgr
    rig.activate()
    rig.mode("RGBD")
    rig.settle()
    call = rig.engine.calls[-1]
    assert np.array_equal(call["rgb"], sent["rgb"])
    assert call["depth"].dtype == np.float32
    assert np.nanmax(call["depth"]) <= 0.3
    assert np.isnan(call["depth"]).any()


# --- Lifecycle -------------------------------------------------------------------------------


def test_every_transition_can_be_reversed(rig: Any) -> None:
    from rclpy.lifecycle import TransitionCallbackReturn

    success = TransitionCallbackReturn.SUCCESS
    for _ in range(2):
        assert rig.node.trigger_deactivate() == success
        rig.until(lambda: rig.camera.count_subscribers("/rgb/image_raw") == 0)
        count = len(rig.masks)
        sent = rig.count
        rig.until(lambda sent=sent: rig.count > sent + 10)
        assert len(rig.masks) <= count + 1, "a mask while inactive"
        assert rig.node.trigger_activate() == success
        rig.mode("RGBD")
    assert rig.node.trigger_deactivate() == success
    assert rig.node.trigger_cleanup() == success
    rig.until(lambda: rig.listener.count_publishers("/segmenter/mask") == 0)
    rig.modes.clear()
    rig.activate()
    rig.until(lambda: "RGBD" in rig.modes)


def test_configure_can_be_repeated_after_a_failure(make_rig: Callable[..., Any]) -> None:
    from rclpy.lifecycle import TransitionCallbackReturn

    rig = make_rig()
    load = rig.node._load

    def fail(*_: str) -> Any:
        raise ValueError("device 'cuda' was asked for but no NVIDIA GPU or driver was found")

    rig.node._load = fail
    assert rig.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    wait_for_log(rig, "cannot configure", "NVIDIA")
    rig.node._load = load
    rig.activate()
    rig.mode("RGBD")


def test_set_enabled_and_parameters_at_run_time(rig: Any) -> None:
    for wanted, mode in ((False, "NO_INPUT"), (True, "RGBD")):
        assert rig.call(SetBool, "set_enabled", SetBool.Request(data=wanted)).success
        rig.until(lambda mode=mode: rig.modes[-1] == mode)
    results = rig.node.set_parameters([Parameter("force_network", value="depth")])
    assert results[0].successful
    rig.mode("DEPTH_ONLY")
    results = rig.node.set_parameters([Parameter("force_network", value="auto")])
    rig.mode("RGBD")
    assert not rig.node.set_parameters([Parameter("device", value="cpu")])[0].successful
    rig.check_masks()


# --- Transports ------------------------------------------------------------------------------


def test_compressed_color_and_depth(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(rgb_transport="compressed", depth_transport="compressedDepth")
    rig.advertise("rgb", CompressedImage, "rgb/image_raw/compressed")
    rig.advertise("depth", CompressedImage, "depth/image_raw/compressedDepth")

    def color(_: int) -> CompressedImage:
        pixels = rig.rng.integers(30, 220, (48, 64, 3), dtype=np.uint8)
        message = CompressedImage(format="rgb8; jpeg compressed bgr8")
        message.data.frombytes(cv2.imencode(".jpg", pixels)[1].tobytes())
        return message

    def depth(_: int) -> CompressedImage:
        ticks = rig.rng.integers(800, 4000, (48, 64), dtype=np.uint16)
        message = CompressedImage(format="16UC1; compressedDepth png")
        message.data.frombytes(bytes(12) + cv2.imencode(".png", ticks)[1].tobytes())
        return message

    rig.rgb, rig.depth = color, depth
    rig.activate()
    rig.mode("RGBD")
    rig.check_masks()


# --- Hints for wrong setups -------------------------------------------------------------------


def test_no_publisher(make_rig: Callable[..., Any], short_silence: None) -> None:
    rig = make_rig()
    for stream in ("rgb", "depth"):
        rig.camera.destroy_publisher(rig.topics.pop(stream))
    other = rig.camera.create_publisher(Image, "/front/color", 5)
    rig.activate()
    wait_for_log(rig, "/rgb/image_raw", "no publisher", "/front/color", "camera:=")
    wait_for_log(rig, "/depth/image_raw", "no publisher")
    rig.camera.destroy_publisher(other)


def test_a_publisher_of_another_type(make_rig: Callable[..., Any], short_silence: None) -> None:
    rig = make_rig()
    rig.advertise("rgb", CompressedImage)
    rig.rgb = None
    rig.activate()
    wait_for_log(rig, "/rgb/image_raw", "CompressedImage", "transport")


def test_a_publisher_with_incompatible_qos(
    make_rig: Callable[..., Any], short_silence: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rgbd_seg_ros.ros import inputs

    strict = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    monkeypatch.setattr(inputs, "SENSOR_QOS", strict)
    rig = make_rig()
    rig.camera.destroy_publisher(rig.topics["depth"])
    loose = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    rig.topics["depth"] = rig.camera.create_publisher(Image, "depth/image_raw", loose)
    rig.activate()
    wait_for_log(rig, "/depth/image_raw", "best effort", "qos_overrides./depth/image_raw")


def test_a_qos_override_applies_to_its_topic_only(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    name = "qos_overrides./rgb/image_raw.subscription.reliability"
    rig.node.declare_parameter(name, "reliable")
    rig.node.set_parameters([Parameter(name, value="reliable")])
    rig.activate()
    for topic, wanted in (("rgb", "RELIABLE"), ("depth", "BEST_EFFORT")):
        (info,) = endpoints(rig, "subscriptions", f"/{topic}/image_raw")
        assert info.qos_profile.reliability.name == wanted
    rig.mode("RGBD")


def test_a_publisher_that_sends_nothing(make_rig: Callable[..., Any], short_silence: None) -> None:
    rig = make_rig()
    rig.depth = None
    rig.activate()
    wait_for_log(rig, "/depth/image_raw", "1 publisher (/camera)", "rmem_max")


def test_stamps_of_a_wrong_clock(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    fresh = rig.rgb

    def old(number: int) -> Image:
        message = fresh(number)
        message.header.frame_id = "camera"
        return message

    rig.rgb = old
    publish = rig.topics["rgb"].publish

    def publish_old(message: Image) -> None:
        message.header.stamp.sec -= 40 * 86400
        publish(message)

    rig.topics["rgb"].publish = publish_old
    rig.activate()
    wait_for_log(rig, "rgb stamps are 40.0 days old", "--clock", "use_sim_time:=true")


def test_depth_that_is_not_aligned(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    make = rig.depth_message

    def unaligned(number: int) -> Image:
        message = make(number)
        message.header.frame_id = "camera_depth"
        return message

    rig.depth = unaligned
    rig.activate()
    rig.mode("RGB_ONLY")
    wait_for_log(rig, "camera_depth", "assume_aligned")
    rig.until(lambda: rig.diagnostics and rig.diagnostics[-1].message.startswith("RGB_ONLY"))
    assert "camera_depth" in rig.diagnostics[-1].message
    assert "is lost" not in rig.diagnostics[-1].message


def test_simulated_time_without_a_clock(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(use_sim_time=True)
    rig.activate()
    wait_for_log(rig, "use_sim_time is true", "--clock")


def test_a_paused_bag_is_not_reported_as_silent(
    make_rig: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = []

    def check(self: Inputs, original: Callable[[Inputs], None] = Inputs.check_streams) -> None:
        original(self)
        checks.append(time.monotonic())

    monkeypatch.setattr(Inputs, "check_streams", check)
    # Longer than the second between two checks, which are needed to detect the pause.
    monkeypatch.setattr(hints, "SILENCE_S", 1.5)
    rig = make_rig(use_sim_time=True)
    clock = rig.listener.create_publisher(ClockMessage, "/clock", 5)
    message = ClockMessage()

    def tick() -> None:
        message.clock.sec += 1
        clock.publish(message)

    timer = rig.listener.create_timer(0.1, tick)
    rig.activate()
    rig.until(lambda: checks)
    rig.timer.cancel()  # the camera
    timer.cancel()
    checks.clear()
    rig.until(lambda: len(checks) >= 4)
    assert not [line for line in rig.logs if "sends nothing" in line]
    timer.reset()
    wait_for_log(rig, "/rgb/image_raw", "sends nothing")


# --- Numbers ---------------------------------------------------------------------------------


def test_rates_follow_the_node_clock() -> None:
    rate = diagnostics.Rate()
    assert rate.hz(0) == 0
    for i in range(100):
        rate.event(i * 50_000_000)
    assert rate.hz(99 * 50_000_000) == pytest.approx(20)
    assert rate.hz(99 * 50_000_000 + 6 * 10**9) == 0
    rate.event(5)  # the clock jumped back
    assert rate.hz(5) == 0
