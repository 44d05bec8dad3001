# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node while it publishes no masks: loading, disabled, inactive, without input."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rigs.graph import wait_for_log
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from rgbd_seg_ros.ros.outputs import write_caption

pytestmark = pytest.mark.ros


# --- Loading ----------------------------------------------------------------------------------


@pytest.fixture
def slow_rig(make_rig: Callable[..., Any]) -> Iterator[Any]:
    """A node that finishes loading only when ``rig.loaded`` is set."""
    rig = make_rig()
    rig.loaded = threading.Event()
    load = rig.node._load

    def wait_and_load(*arguments: str) -> Any:
        rig.loaded.wait(60)
        return load(*arguments)

    rig.node._load = wait_and_load
    yield rig
    rig.loaded.set()


def transition(label: str) -> ChangeState.Request:
    return ChangeState.Request(transition=Transition(label=label))


@pytest.mark.parametrize("requested_by", ["autostart", "service"])
def test_the_node_responds_while_it_loads(slow_rig: Any, requested_by: str) -> None:
    rig = slow_rig
    if requested_by == "autostart":
        done = rig.executor.create_task(rig.node.autostart)
    else:
        client = rig.listener.create_client(ChangeState, "segmenter/change_state")
        rig.until(client.service_is_ready)
        done = client.call_async(transition("configure"))
    wait_for_log(rig, "loading the shipped bundle")
    state = rig.call(GetState, "get_state", GetState.Request()).current_state
    assert state.label == "configuring"
    got = rig.call(GetParameters, "get_parameters", GetParameters.Request(names=["device"]))
    assert got.values[0].string_value == "auto"
    rig.until(lambda: rig.diagnostics and rig.diagnostics[-1].message.startswith("loading"))
    assert not done.done()
    rig.loaded.set()
    rig.until(done.done)
    assert done.result() is True or done.result().success
    state = rig.call(GetState, "get_state", GetState.Request()).current_state
    assert state.label == ("active" if requested_by == "autostart" else "inactive")


def test_a_failed_autostart_is_logged(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()

    def fail(*_: str) -> Any:
        raise ValueError("no such bundle")

    rig.node._load = fail
    done = rig.executor.create_task(rig.node.autostart)
    rig.until(done.done)
    assert done.result() is False
    wait_for_log(rig, "cannot configure", "no such bundle")


def test_an_unexpected_error_in_a_transition_is_answered(rig: Any) -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("planted")

    rig.node._change_state = fail
    for label in ("deactivate", "configure"):
        answer = rig.call(ChangeState, "change_state", transition(label))
        assert not answer.success
        wait_for_log(rig, f"transition {label} failed: 'planted'")
    rig.node.trigger_configure = fail
    done = rig.executor.create_task(rig.node.autostart)
    rig.until(done.done)
    assert done.result() is False
    wait_for_log(rig, "cannot start: 'planted'")


def test_a_long_label_of_a_transition_is_refused_in_one_short_line(rig: Any) -> None:
    answer = rig.call(ChangeState, "change_state", transition("x" * 100_000))
    assert not answer.success
    wait_for_log(rig, "there is no transition 'xxx")
    assert max(map(len, rig.logs)) < 300


def test_a_failed_activation_is_logged_and_can_be_repeated(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    before = {s.topic_name for s in rig.node.subscriptions}
    create = rig.node.create_subscription

    def fail(message_type: Any, topic: str, *arguments: Any, **options: Any) -> Any:
        if "depth" in topic:
            raise RuntimeError("planted: unexpected QoS override")
        return create(message_type, topic, *arguments, **options)

    rig.node.create_subscription = fail
    assert rig.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert rig.node.trigger_activate() == TransitionCallbackReturn.FAILURE
    wait_for_log(rig, "cannot activate: planted: unexpected QoS override")
    assert {s.topic_name for s in rig.node.subscriptions} == before
    assert rig.node._core is None
    assert rig.node._engine_thread._pipeline is None
    assert not rig.node._outputs._mask.is_activated
    rig.node.create_subscription = create
    assert rig.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    rig.mode("RGBD")


def test_an_invalid_transition_is_refused_and_the_node_continues(slow_rig: Any) -> None:
    rig = slow_rig
    assert not rig.call(ChangeState, "change_state", transition("activate")).success
    done = rig.executor.create_task(rig.node.autostart)
    wait_for_log(rig, "loading the shipped bundle")
    assert not rig.call(ChangeState, "change_state", transition("configure")).success
    rig.loaded.set()
    rig.until(done.done)
    assert done.result()
    rig.mode("RGBD")


def test_closing_does_not_wait_for_the_networks(slow_rig: Any) -> None:
    rig = slow_rig
    rig.executor.create_task(rig.node.autostart)
    wait_for_log(rig, "loading the shipped bundle")
    rig.node.close()
    wait_for_log(rig, "stopped while the networks were loading")
    rig.until(lambda: not rig.node._configuring.is_alive())


# --- Without input, disabled, inactive ---------------------------------------------------------


def placeholder(rig: Any, caption: str) -> bytes:
    """The overlay without a mask."""
    image = np.full((*rig.size, 3), 40, np.uint8)
    write_caption(image, caption)
    return image.tobytes()


def test_the_overlay_shows_that_there_is_no_input(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(max_age_s=60.0)  # the mask is held back for longer than the usual second
    rig.activate()
    rig.mode("RGBD")
    got: list[Image] = []
    rig.listener.create_subscription(Image, "segmenter/overlay", got.append, 10)
    rig.until(lambda: got)
    # The mask that is being computed when both streams fall silent must not replace it.
    rig.engine.may_finish.clear()
    calls = len(rig.engine.calls)
    rig.until(lambda: len(rig.engine.calls) > calls)
    rgb, depth, rig.rgb, rig.depth = rig.rgb, rig.depth, None, None
    rig.until(lambda: rig.modes[-1] == "NO_INPUT")
    expected = placeholder(rig, f"NO_INPUT: {rig.node._core.mode_reason}")
    rig.until(lambda: bytes(got[-1].data) == expected)
    count, overlays = len(rig.masks), len(got)
    rig.engine.may_finish.set()
    rig.until(lambda: len(rig.masks) > count and len(got) > overlays)
    assert {bytes(image.data) for image in got[overlays:]} == {expected}
    late: list[Image] = []
    rig.listener.create_subscription(Image, "segmenter/overlay", late.append, 10)
    rig.until(lambda: late)
    assert bytes(late[0].data) == expected
    rig.rgb, rig.depth = rgb, depth
    rig.mode("RGBD")
    rig.until(lambda: bytes(got[-1].data) != expected)


def test_the_overlay_shows_that_the_node_waits_for_images(
    make_rig: Callable[..., Any],
) -> None:
    rig = make_rig()
    rig.rgb = rig.depth = None
    got: list[Image] = []
    rig.listener.create_subscription(Image, "segmenter/overlay", got.append, 10)
    rig.activate()
    rig.until(lambda: got)
    rig.size = (480, 640)  # until the first mask
    assert bytes(got[-1].data) == placeholder(rig, "STARTING: waiting for the first images")


def test_overlay_and_mode_show_that_the_node_is_disabled_or_inactive(rig: Any) -> None:
    got: list[Image] = []
    rig.listener.create_subscription(Image, "segmenter/overlay", got.append, 10)
    rig.until(lambda: got)
    assert rig.call(SetBool, "set_enabled", SetBool.Request(data=False)).success
    rig.until(lambda: bytes(got[-1].data) == placeholder(rig, "NO_INPUT: disabled"))
    assert rig.call(SetBool, "set_enabled", SetBool.Request(data=True)).success
    rig.mode("RGBD")
    assert rig.call(ChangeState, "change_state", transition("deactivate")).success
    rig.until(lambda: bytes(got[-1].data) == placeholder(rig, "inactive"))
    assert rig.modes[-1] == "NO_INPUT"


def test_a_disabled_node_reports_no_silent_streams(
    make_rig: Callable[..., Any], short_silence: None
) -> None:
    rig = make_rig()
    rig.activate()
    rig.mode("RGBD")
    assert rig.call(SetBool, "set_enabled", SetBool.Request(data=False)).success
    rig.rgb = rig.depth = None
    rig.until(lambda: rig.modes[-1] == "NO_INPUT")
    rig.diagnostics.clear()
    rig.until(lambda: len(rig.diagnostics) >= 3)  # one per second, longer than SILENCE_S
    assert rig.diagnostics[-1].message.startswith("disabled")
    assert rig.diagnostics[-1].level == b"\x00"
    assert not any("no messages on" in line for line in rig.logs)
    assert rig.call(SetBool, "set_enabled", SetBool.Request(data=True)).success
    wait_for_log(rig, "no messages on /rgb/image_raw")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_an_unintended_cpu_is_a_warning(make_rig: Callable[..., Any], device: str) -> None:
    rig = make_rig(device=device)
    rig.engine.device = "cpu"
    rig.activate()
    rig.mode("RGBD")
    rig.until(lambda: rig.diagnostics and rig.diagnostics[-1].message.startswith("RGBD"))
    # A busy machine may cause more warnings, about missed partners or a slow stream.
    sentence, *warnings = rig.diagnostics[-1].message.split("; ")
    assert sentence == "RGBD: color and depth are fused"
    assert any("device: cpu" in warning for warning in warnings) == (device == "auto")
    assert (rig.diagnostics[-1].level == b"\x01") == bool(warnings)
