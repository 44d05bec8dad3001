# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Sensor failures while the node runs: modes, reasons, and no stale or missing masks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from rigs.graph import wait_for_log

from rgbd_seg_ros.ros.engine_thread import REMEMBERED_FRAMES

pytestmark = pytest.mark.ros


def last(rig: Any, key: str) -> str:
    """A key of the newest mask's status."""
    return str(rig.statuses[-1][key])


def test_both_streams_are_fused(rig: Any) -> None:
    rig.until(lambda: len(rig.masks) > 20)
    rig.check_masks()
    # Not the newest mask: on busy cores a stream may have been silent for a moment.
    fused = max(i for i, s in enumerate(rig.statuses) if s["network"] == "rgbd")
    status, mask = rig.statuses[fused], rig.masks[fused]
    assert (status["mode"], status["network"]) == ("RGBD", "rgbd")
    assert (status["reason_rgb"], status["reason_depth"]) == ("ok", "ok")
    assert float(status["age_rgb_ms"]) >= 0
    assert float(status["latency_ms"]) >= 0
    assert (mask.encoding, mask.height, mask.width, mask.step) == ("mono8", 48, 64, 64)
    assert mask.header.frame_id == "camera"
    assert set(mask.data) == {0}


@pytest.mark.parametrize(
    ("stream", "mode", "network"), [("depth", "RGB_ONLY", "rgb"), ("rgb", "DEPTH_ONLY", "depth")]
)
def test_a_stream_stops_and_comes_back(rig: Any, stream: str, mode: str, network: str) -> None:
    working = getattr(rig, stream)
    setattr(rig, stream, None)
    rig.mode(mode)
    assert last(rig, "network") == network
    assert last(rig, f"reason_{stream}") == "silent"
    rig.until(lambda: any(f"{stream} is lost: silent" in d.message for d in rig.diagnostics))
    setattr(rig, stream, working)
    rig.mode("RGBD")
    assert last(rig, f"reason_{stream}") == "ok"
    rig.check_masks()


@pytest.mark.parametrize(("stream", "mode"), [("depth", "RGB_ONLY"), ("rgb", "DEPTH_ONLY")])
def test_a_stream_freezes(rig: Any, stream: str, mode: str) -> None:
    working = getattr(rig, stream)
    frozen = working(0)
    setattr(rig, stream, lambda _: frozen)
    rig.mode(mode)
    assert last(rig, f"reason_{stream}") == "frozen"
    setattr(rig, stream, working)
    rig.mode("RGBD")
    rig.check_masks()


def test_depth_in_meters_becomes_nan(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    rig.depth = rig.meters_message
    rig.activate()
    rig.mode("RGBD")
    rig.good["depth"] = False
    rig.depth = lambda _: rig.image(np.full(rig.size, np.nan, np.float32), "32FC1")
    rig.mode("RGB_ONLY")
    assert last(rig, "reason_depth") == "no_depth"
    rig.good["depth"] = True
    rig.depth = rig.meters_message
    rig.mode("RGBD")
    rig.check_masks()


def test_color_with_an_unknown_encoding(rig: Any) -> None:
    def wrong(number: int) -> Any:
        message = rig.rgb_message(number)
        message.encoding = "infrared7"
        return message

    rig.good["rgb"] = False
    rig.rgb = wrong
    rig.mode("DEPTH_ONLY")
    assert last(rig, "reason_rgb") == "malformed"
    rig.until(lambda: any("infrared7" in line and "rgb8" in line for line in rig.logs))
    rig.good["rgb"] = True
    rig.rgb = rig.rgb_message
    rig.mode("RGBD")
    rig.check_masks()


def test_depth_is_truncated(rig: Any) -> None:
    def truncated(number: int) -> Any:
        message = rig.depth_message(number)
        message.data = message.data[:-100]
        return message

    rig.good["depth"] = False
    rig.depth = truncated
    rig.mode("RGB_ONLY")
    assert last(rig, "reason_depth") == "malformed"
    rig.good["depth"] = True
    rig.depth = rig.depth_message
    rig.mode("RGBD")
    rig.check_masks()


def test_both_are_silent_and_come_back(rig: Any) -> None:
    rgb, depth, rig.rgb, rig.depth = rig.rgb, rig.depth, None, None
    rig.mode("NO_INPUT")
    count = len(rig.masks)
    rig.until(lambda: rig.diagnostics and rig.diagnostics[-1].message.startswith("NO_INPUT"))
    assert rig.diagnostics[-1].level == b"\x02"
    assert len(rig.masks) == count, "a mask without input"
    rig.rgb, rig.depth = rgb, depth
    rig.mode("RGBD")
    rig.check_masks()


def test_publishers_restart_with_another_size(rig: Any) -> None:
    for stream in ("rgb", "depth"):
        rig.advertise(stream)
    rig.size = (60, 80)
    rig.until(lambda: (rig.masks[-1].height, rig.masks[-1].width) == (60, 80))
    rig.mode("RGBD")
    assert rig.modes[-1] == "RGBD"
    rig.settle()
    sizes = [(mask.height, mask.width) for mask in rig.masks]
    change = sizes.index((60, 80))
    assert set(sizes[:change]) == {(48, 64)}
    assert set(sizes[change:]) == {(60, 80)}


def test_raw_depth_is_used_when_the_color_driver_dies(rig: Any) -> None:
    rig.advertise("depth_raw")
    rig.sent["depth_raw"], rig.good["depth_raw"] = {}, True

    def raw() -> None:
        message = rig.image(rig.rng.integers(800, 4000, (36, 64), dtype=np.uint16), "16UC1")
        message.header.stamp = rig.camera.get_clock().now().to_msg()
        message.header.frame_id = "camera_depth"
        rig.topics["depth_raw"].publish(message)

    timer = rig.camera.create_timer(1 / 30, raw)
    rig.rgb = rig.depth = None
    rig.mode("DEPTH_ONLY")
    rig.until(lambda: rig.masks[-1].header.frame_id == "camera_depth")
    assert (rig.masks[-1].height, rig.masks[-1].width) == (36, 64)
    timer.cancel()
    rig.mode("NO_INPUT")


def test_the_clock_jumps_back(make_rig: Callable[..., Any]) -> None:
    from rclpy.clock import Clock, ClockType
    from rclpy.parameter import Parameter
    from rosgraph_msgs.msg import Clock as ClockMessage

    rig = make_rig(use_sim_time=True)
    steady = Clock(clock_type=ClockType.STEADY_TIME)
    rig.camera.set_parameters([Parameter("use_sim_time", value=True)])
    clock = rig.listener.create_publisher(ClockMessage, "/clock", 5)
    offset = [1000 * 10**9 - steady.now().nanoseconds]

    def tick() -> None:
        now = steady.now().nanoseconds + offset[0]
        message = ClockMessage()
        message.clock.sec, message.clock.nanosec = divmod(now, 10**9)
        clock.publish(message)

    rig.listener.create_timer(0.005, tick, clock=steady)
    # With the simulated clock, the timer would not fire until the clock caught up after the jump.
    rig.timer.cancel()
    rig.timer = rig.camera.create_timer(1 / 30, rig.publish, clock=steady)
    rig.activate()
    rig.mode("RGBD")
    before = rig.statuses[-1]["stamp"]
    rig.modes.clear()
    offset[0] -= 500 * 10**9
    rig.until(lambda: "STARTING" in rig.modes)
    rig.mode("RGBD")
    jump = next(i for i, s in enumerate(rig.statuses) if s["stamp"] < before - 400 * 10**9)
    stamps = [s["stamp"] for s in rig.statuses]
    assert stamps[:jump] == sorted(set(stamps[:jump]))
    assert stamps[jump:] == sorted(set(stamps[jump:])), (
        "a mask from before the jump arrived after it"
    )
    rig.until(lambda: any("clock jumped" in line for line in rig.logs))


def test_the_node_continues_after_an_engine_failure(rig: Any) -> None:
    rig.engine.failures.append(RuntimeError("out of memory"))
    rig.until(lambda: not rig.engine.failures)
    count = len(rig.masks)
    rig.until(lambda: len(rig.masks) > count + 5)
    rig.until(lambda: any("out of memory" in line for line in rig.logs))
    rig.until(lambda: any(s.level == b"\x02" for s in rig.diagnostics))


def test_a_busy_engine_delays_masks_but_not_mode_changes(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(max_age_s=60.0)  # the mask is held back for longer than the usual second
    rig.activate()
    rig.mode("RGBD")
    rig.engine.may_finish.clear()
    calls = len(rig.engine.calls)
    rig.until(lambda: len(rig.engine.calls) > calls)
    rig.rgb = rig.depth = None
    rig.until(lambda: rig.modes[-1] == "NO_INPUT")
    rig.engine.may_finish.set()
    rig.check_masks()


def test_a_slow_mask_reports_its_full_latency(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(max_age_s=60.0)  # the mask is held back for longer than the usual second
    rig.activate()
    rig.mode("RGBD")
    rig.engine.may_finish.clear()
    calls, masks = len(rig.engine.calls), len(rig.statuses)
    rig.until(lambda: len(rig.engine.calls) > calls)
    begin_s = time.monotonic()
    # By then the arrival times of this mask's frames have been forgotten.
    sent = rig.count + REMEMBERED_FRAMES
    rig.until(lambda: rig.count > sent)
    held_ms = (time.monotonic() - begin_s) * 1e3
    rig.engine.may_finish.set()
    rig.until(lambda: len(rig.statuses) > masks + 1)
    assert max(float(s["latency_ms"]) for s in rig.statuses[masks:]) >= held_ms


def test_a_mask_that_is_too_old_when_it_is_ready_is_dropped(rig: Any) -> None:
    """As after SIGSTOP and SIGCONT."""
    rig.engine.may_finish.clear()
    calls = len(rig.engine.calls)
    rig.until(lambda: len(rig.engine.calls) > calls)
    rig.until(lambda: any("no mask for" in d.message for d in rig.diagnostics))
    rig.engine.may_finish.set()
    wait_for_log(rig, "a mask was dropped", "max_age_s=1")
    masks = len(rig.masks)
    rig.until(lambda: len(rig.masks) > masks + 5)
    assert rig.node._core.counters.masks_expired == 1
    rig.until(lambda: rig.diagnostics[-1].message.startswith("RGBD: "))


@pytest.mark.parametrize("stream", ["rgb", "depth"])
@pytest.mark.parametrize("encoding", ["rgb16", "bayer_rggb16", "x" * 100_000])
def test_an_impossible_image_is_skipped_and_told(rig: Any, stream: str, encoding: str) -> None:
    working = getattr(rig, stream)
    bad = rig.image(np.zeros((30, 1), np.uint8), "mono8")
    bad.encoding, bad.step = encoding, 1
    rig.good[stream] = False
    setattr(rig, stream, lambda _: bad)
    rig.until(lambda: rig.node._core.counters.unusable[stream].get("malformed", 0) > 3)
    wait_for_log(rig, f"{stream}: a message is unusable (malformed)")
    assert max(map(len, rig.logs)) < 500
    rig.good[stream] = True
    setattr(rig, stream, working)
    rig.mode("RGBD")
    masks = len(rig.masks)
    rig.until(lambda: len(rig.masks) > masks + 5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_outside_the_engine_does_not_end_the_masks(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, failures = rig.node._core, [ValueError("planted"), SystemExit("planted")]
    real = core.next_decodes

    def next_decodes(now_ns: int) -> Any:
        if failures:
            raise failures.pop(0)
        return real(now_ns)

    monkeypatch.setattr(core, "next_decodes", next_decodes)
    rig.until(lambda: not failures)
    wait_for_log(rig, "planted")
    wait_for_log(rig, "the engine's thread ended and was started again")
    masks = len(rig.masks)
    rig.until(lambda: len(rig.masks) > masks + 5)
