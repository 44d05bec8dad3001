# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Hints about stamps, transports, publishers and sizes; and when they are told. Without ROS."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from rgbd_seg_ros.ros import subscription_hints as hints
from rgbd_seg_ros.ros.stamp_hints import StampWatch, duration_text
from rgbd_seg_ros.ros.standing_warnings import GONE_AFTER, REPEAT_AFTER, StandingWarnings

T0 = 1_800_000_000 * 10**9 + 123_456_789
PERIOD_NS = 100_000_000
DAY_NS = 86400 * 10**9


def told(
    stamp: Callable[[int], int], count: int = 10, simulated: bool = False, copies: int = 1
) -> dict[str, str]:
    """The hints after messages at 10 Hz whose stamps are a function of the time of arrival."""
    watch = StampWatch("rgb", simulated)
    for i in range(count):
        now_ns = T0 + i * PERIOD_NS
        for _ in range(copies):
            watch.add(stamp(now_ns), now_ns)
    return dict(watch.hints(max_age_s=1.0, max_future_s=0.1))


@pytest.mark.parametrize(
    ("age_ns", "simulated", "kind", "words"),
    [
        (
            -300_000_000,
            False,
            "ahead",
            "0.3 s ahead of this computer's clock.*chrony.*max_future_s",
        ),
        (-104_000_000, False, "ahead", "0.104 s ahead of .*, more than max_future_s=0.1,"),
        (3_000_000_000, False, "old", "3.0 s old.*chrony.*max_age_s"),
        (-300_000_000, True, "ahead", "0.3 s ahead of the simulated clock"),
        (3_000_000_000, True, "old", "3.0 s old"),
        (3600 * 10**9, False, "wrong clock", "60 min old.*--clock.*use_sim_time:=true"),
        (40 * DAY_NS, False, "wrong clock", "40.0 days old"),
        (-5 * 3600 * 10**9, False, "wrong clock", "5.0 hours in the future"),
        (3 * DAY_NS, True, "wrong clock", "3.0 days behind the simulated clock"),
        (-DAY_NS, True, "wrong clock", "24.0 hours ahead of the simulated clock"),
    ],
)
def test_stamps_of_another_clock(age_ns: int, simulated: bool, kind: str, words: str) -> None:
    found = told(lambda now_ns: now_ns - age_ns, simulated=simulated)
    assert list(found) == [f"{kind} rgb"]
    assert re.search(words, found[f"{kind} rgb"])


@pytest.mark.parametrize("age_ns", [0, 990_000_000, -90_000_000, 20_000_000])
def test_usable_stamps_cause_no_hint(age_ns: int) -> None:
    assert told(lambda now_ns: now_ns - age_ns) == {}


def test_single_late_messages_and_the_first_ones_cause_no_hint() -> None:
    late = (T0 + 3 * PERIOD_NS, T0 + 4 * PERIOD_NS)
    assert told(lambda now_ns: now_ns - (5 * 10**9 if now_ns in late else 0)) == {}
    assert told(lambda now_ns: now_ns - DAY_NS, count=4) == {}
    watch = StampWatch("rgb", simulated=True)
    for _ in range(10):
        watch.add(T0, 0)  # before the first /clock
    assert dict(watch.hints(1.0, 0.1)) == {}


def test_a_limit_of_zero_is_no_limit() -> None:
    watch = StampWatch("rgb", simulated=False)
    for i in range(10):
        watch.add(T0 + i * PERIOD_NS, T0 + i * PERIOD_NS + 100 * 10**9)
    assert dict(watch.hints(0.0, 0.0)) == {}


def test_whole_seconds_and_copies() -> None:
    whole = told(lambda now_ns: now_ns // 10**9 * 10**9, count=20)
    assert "whole seconds only" in whole["whole seconds rgb"]
    assert "copies rgb" not in whole
    copied = told(lambda now_ns: now_ns, copies=2)
    assert (
        "more than once with the same stamp (5 copies among the last 10)" in copied["copies rgb"]
    )
    # A camera that is triggered at each full second is right.
    watch = StampWatch("rgb", simulated=False)
    for i in range(10):
        watch.add((1_800_000_000 + i) * 10**9, (1_800_000_000 + i) * 10**9 + 20_000_000)
    assert dict(watch.hints(1.0, 0.1)) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.02, "0.02 s"), (-0.3, "0.3 s"), (3, "3.0 s"), (119, "119.0 s"), (720, "12 min"),
        (7200, "2.0 hours"), (18 * 3600, "18.0 hours"), (40 * 86400, "40.0 days"),
    ],
)  # fmt: skip
def test_durations_have_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("topic", "name", "published", "words"),
    [
        ("/rgb/image_raw", "rgb/image_raw", ["/rgb/image_raw/compressed"],
         "only /rgb/image_raw/compressed is published: set the parameter rgb_transport: comp"),
        ("/rgb/image_raw/compressed", "rgb/image_raw", ["/rgb/image_raw"],
         "only /rgb/image_raw is published: set the parameter rgb_transport: raw"),
        ("/d/image", "depth/image_raw", ["/d/image/compressed", "/d/image/compressedDepth"],
         "depth_transport: compressedDepth"),
        ("/d/image", "depth_raw/image_raw", ["/d/image/compressedDepth"],
         "depth_transport: compressedDepth"),
        ("/d/image/compressedDepth", "depth/image_raw", ["/d/image"], "depth_transport: raw"),
        ("/rgb/image_raw", "rgb/image_raw", ["/rgb/image_raw/ffmpeg"], "rgb_transport: ffmpeg"),
        ("/rgb/image_raw/ffmpeg", "rgb/image_raw", ["/rgb/image_raw"], "rgb_transport: raw"),
        ("/rgb/image_raw", "rgb/image_raw", ["/rgb/image_raw/theora"], "cannot read"),
        ("/rgb/image_raw", "rgb/image_raw", ["/rgb/image_raw2", "/other/compressed"], None),
    ],
)  # fmt: skip
def test_another_transport(topic: str, name: str, published: list[str], words: str | None) -> None:
    text = hints.other_transport(topic, name, published)
    assert text is None if words is None else words in (text or "")


def publisher(name: str, namespace: str = "/") -> SimpleNamespace:
    return SimpleNamespace(node_name=name, node_namespace=namespace)


def test_several_publishers_are_named() -> None:
    assert hints.several_publishers("/rgb/image_raw", []) is None
    assert hints.several_publishers("/rgb/image_raw", [publisher("a")]) is None
    text = hints.several_publishers("/rgb/image_raw", [publisher("b"), publisher("a", "/left")])
    assert text is not None
    assert text.startswith("2 publishers on /rgb/image_raw: /b, /left/a; ")


def test_a_camera_info_of_another_size() -> None:
    assert hints.other_size("rgb", (480, 640), (480, 640)) is None
    assert "for 1280×720 images, but those of rgb have 640×480" in (
        hints.other_size("rgb", (480, 640), (720, 1280)) or ""
    )


def test_a_condition_is_logged_when_it_begins_and_when_it_recurs() -> None:
    logged: list[str] = []
    reported: list[str] = []
    withdrawn: list[str] = []
    warnings = StandingWarnings(logged.append, reported.append, withdrawn.append)
    for i in range(REPEAT_AFTER + 1):
        warnings.update({"key": f"text {i}"})
    assert logged == ["text 0"]
    assert reported == ["text 0", f"text {REPEAT_AFTER}"]
    for _ in range(GONE_AFTER - 1):
        warnings.update({})
    warnings.update({"key": "wavers"})
    assert logged == ["text 0"]
    for _ in range(GONE_AFTER):
        warnings.update({})
    warnings.update({"key": "again"})
    assert logged == ["text 0", "again"]
    warnings.forget("key")
    warnings.update({"key": "at once"})
    assert logged[-1] == "at once"
    # Each report replaces the one before it, and none stays when its condition is over.
    assert list(dict.fromkeys(withdrawn)) == ["text 0", f"text {REPEAT_AFTER}", "again", "at once"]
