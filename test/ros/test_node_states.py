# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node while it makes no masks: loading, disabled, inactive, without input."""

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
from rigs.graph import said
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from rgbd_seg_ros.ros.outputs import write_caption

pytestmark = pytest.mark.ros


# --- Loading ----------------------------------------------------------------------------------


@pytest.fixture
def slow_rig(make_rig: Callable[..., Any]) -> Iterator[Any]:
    """A node whose networks are not there before ``rig.loaded`` is set."""
    rig = make_rig()
    rig.loaded = threading.Event()
    build = rig.node._build

    def wait_and_build(config: Any) -> Any:
        rig.loaded.wait(60)
        return build(config)

    rig.node._build = wait_and_build
    yield rig
    rig.loaded.set()


def transition(label: str) -> ChangeState.Request:
    return ChangeState.Request(transition=Transition(label=label))


@pytest.mark.parametrize("asked_by", ["autostart", "service"])
def test_it_answers_while_it_loads(slow_rig: Any, asked_by: str) -> None:
    rig = slow_rig
    if asked_by == "autostart":
        done = rig.executor.create_task(rig.node.autostart)
    else:
        client = rig.listener.create_client(ChangeState, "segmenter/change_state")
        rig.until(client.service_is_ready)
        done = client.call_async(transition("configure"))
    said(rig, "loading bundle")
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
    assert state.label == ("active" if asked_by == "autostart" else "inactive")


def test_a_failed_autostart_is_told(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()

    def fail(_: Any) -> Any:
        raise ValueError("no such bundle")

    rig.node._build = fail
    done = rig.executor.create_task(rig.node.autostart)
    rig.until(done.done)
    assert done.result() is False
    said(rig, "cannot configure", "no such bundle")


def test_an_impossible_transition_is_refused_and_the_node_lives(slow_rig: Any) -> None:
    rig = slow_rig
    assert not rig.call(ChangeState, "change_state", transition("activate")).success
    done = rig.executor.create_task(rig.node.autostart)
    said(rig, "loading bundle")
    assert not rig.call(ChangeState, "change_state", transition("configure")).success
    rig.loaded.set()
    rig.until(done.done)
    assert done.result()
    rig.mode("RGBD")


def test_closing_does_not_wait_for_the_networks(slow_rig: Any) -> None:
    rig = slow_rig
    rig.executor.create_task(rig.node.autostart)
    said(rig, "loading bundle")
    rig.node.close()
    said(rig, "stopped while the networks were loading")
    rig.until(lambda: not rig.node._configuring.is_alive())


# --- Without input, disabled, inactive ---------------------------------------------------------


def blank(rig: Any, caption: str) -> bytes:
    """The overlay that stands for no mask."""
    picture = np.full((*rig.size, 3), 40, np.uint8)
    write_caption(picture, caption)
    return picture.tobytes()


def test_the_overlay_says_that_there_is_no_input(rig: Any) -> None:
    got: list[Image] = []
    rig.listener.create_subscription(Image, "segmenter/overlay", got.append, 10)
    rig.until(lambda: got)
    # A mask is in the making while all falls silent; it must not look alive afterward.
    rig.engine.may_finish.clear()
    calls = len(rig.engine.calls)
    rig.until(lambda: len(rig.engine.calls) > calls)
    rgb, depth, rig.rgb, rig.depth = rig.rgb, rig.depth, None, None
    rig.until(lambda: rig.modes[-1] == "NO_INPUT")
    expected = blank(rig, f"NO_INPUT: {rig.node._core.mode_reason}")
    rig.until(lambda: bytes(got[-1].data) == expected)
    count, overlays = len(rig.masks), len(got)
    rig.engine.may_finish.set()
    rig.until(lambda: len(rig.masks) > count and len(got) > overlays)
    assert {bytes(picture.data) for picture in got[overlays:]} == {expected}
    late: list[Image] = []
    rig.listener.create_subscription(Image, "segmenter/overlay", late.append, 10)
    rig.until(lambda: late)
    assert bytes(late[0].data) == expected
    rig.rgb, rig.depth = rgb, depth
    rig.mode("RGBD")
    rig.until(lambda: bytes(got[-1].data) != expected)


def test_the_overlay_says_that_the_first_pictures_are_awaited(
    make_rig: Callable[..., Any],
) -> None:
    rig = make_rig()
    rig.rgb = rig.depth = None
    got: list[Image] = []
    rig.listener.create_subscription(Image, "segmenter/overlay", got.append, 10)
    rig.activate()
    rig.until(lambda: got)
    rig.size = (480, 640)  # until the first mask
    assert bytes(got[-1].data) == blank(rig, "STARTING: waiting for the first pictures")


def test_overlay_and_mode_say_that_the_node_makes_no_masks(rig: Any) -> None:
    got: list[Image] = []
    rig.listener.create_subscription(Image, "segmenter/overlay", got.append, 10)
    rig.until(lambda: got)
    assert rig.call(SetBool, "set_enabled", SetBool.Request(data=False)).success
    rig.until(lambda: bytes(got[-1].data) == blank(rig, "NO_INPUT: disabled"))
    assert rig.call(SetBool, "set_enabled", SetBool.Request(data=True)).success
    rig.mode("RGBD")
    assert rig.call(ChangeState, "change_state", transition("deactivate")).success
    rig.until(lambda: bytes(got[-1].data) == blank(rig, "inactive"))
    assert rig.modes[-1] == "NO_INPUT"


def test_while_disabled_it_says_so_and_minds_no_stream(
    make_rig: Callable[..., Any], impatient: None
) -> None:
    rig = make_rig()
    rig.activate()
    rig.mode("RGBD")
    assert rig.call(SetBool, "set_enabled", SetBool.Request(data=False)).success
    rig.rgb = rig.depth = None
    rig.until(lambda: rig.modes[-1] == "NO_INPUT")
    rig.diagnostics.clear()
    rig.until(lambda: len(rig.diagnostics) >= 3)  # one a second: longer than the patience
    assert rig.diagnostics[-1].message.startswith("disabled")
    assert rig.diagnostics[-1].level == b"\x00"
    assert not any("nothing arrives" in line for line in rig.logs)
    assert rig.call(SetBool, "set_enabled", SetBool.Request(data=True)).success
    said(rig, "nothing arrives on /rgb/image_raw")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_only_a_cpu_that_nobody_asked_for_is_a_warning(
    make_rig: Callable[..., Any], device: str
) -> None:
    rig = make_rig(device=device)
    rig.engine.device = "cpu"
    rig.activate()
    rig.mode("RGBD")
    rig.until(lambda: rig.diagnostics and rig.diagnostics[-1].message.startswith("RGBD"))
    # A busy machine may add a warning of its own, of missed partners or a slow stream.
    sentence, *warnings = rig.diagnostics[-1].message.split("; ")
    assert sentence == "RGBD: both streams are used"
    assert any("device: cpu" in warning for warning in warnings) == (device == "auto")
    assert (rig.diagnostics[-1].level == b"\x01") == bool(warnings)
