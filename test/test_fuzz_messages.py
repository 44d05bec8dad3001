# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A slice of the fuzzer of messages; `python -m benchmarks.fuzz_messages` runs far more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rigs.message_mutations import Arrival, arrival
from rigs.message_seeds import COLOR_FORMS, DEPTH_FORMS, MAX_PIXELS, SIZES, forms, image

from benchmarks import fuzz_messages
from benchmarks.fuzz_messages import Receiver, fuzz, shrink
from rgbd_seg_ros.compressed_depth import DepthPayload
from rgbd_seg_ros.fallback.counters import Counters
from rgbd_seg_ros.frames import Frame, Stream
from rgbd_seg_ros.images import to_frame


def test_no_message_of_a_slice_breaks_a_rule() -> None:
    failures, statistics = fuzz(2000, seed=1, first=1000)
    assert failures == []
    assert statistics.messages == 2000
    assert set(statistics.kinds) == {"Image", "CompressedImage", "CameraInfo", "TF"}
    # The messages reach the decoders and the core, instead of being refused at once.
    images = statistics.results.total()
    for result in ("CompressedFrame → Frame", "Frame → Frame", "Defect → Defect"):
        assert statistics.results[result] > 0.05 * images, result
    assert set(statistics.jobs) == {"rgb", "depth", "rgbd"}
    assert statistics.jobs.total() > 0.1 * images


@pytest.mark.parametrize("size", SIZES[:4])
@pytest.mark.parametrize("stream", ["rgb", "depth"])
def test_every_seed_is_valid(stream: Stream, size: tuple[int, int]) -> None:
    names = [name for name, _ in (COLOR_FORMS if stream == "rgb" else DEPTH_FORMS)]
    assert set(names) <= {form.removeprefix("compressed ") for form in forms(stream)}
    for form in forms(stream):
        if form != "compressed h264":  # needs PyAV, and the packets before it
            frame = to_frame(image(stream, form, size, 1, 0), stream, max_pixels=MAX_PIXELS)
            assert isinstance(frame, Frame), (form, frame)


# --- The fuzzer finds faults -------------------------------------------------------------------


def found(first: int = 0) -> str:
    failures, _ = fuzz(400, seed=1, first=1000 + first)
    assert failures
    return failures[0]


def test_memory_that_only_the_process_sees_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fuzz_messages.Memory()
    if not memory.is_resident:
        pytest.skip("needs Linux: reads /proc/self")
    decode = DepthPayload.decode

    def greedy(self: DepthPayload) -> Any:
        np.ones(200_000_000, np.uint8)
        return decode(self)

    monkeypatch.setattr(fuzz_messages, "TRACED_ALLOWANCE", 10**9)
    monkeypatch.setattr(DepthPayload, "decode", greedy)
    assert "bytes of resident memory" in found()


def test_memory_of_numpy_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = DepthPayload.decode

    def greedy(self: DepthPayload) -> Any:
        np.empty(10_000_000, np.uint8)
        return decode(self)

    monkeypatch.setattr(DepthPayload, "decode", greedy)
    assert "bytes of traced memory" in found()


def test_a_message_without_a_fate_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    count = Counters.count

    def forgetful(self: Counters, stream: Stream, fate: str, number: int = 1) -> None:
        if fate != "superseded":
            count(self, stream, fate, number)

    monkeypatch.setattr(Counters, "count", forgetful)
    assert "messages have no fate after two seconds" in found()


def is_example(item: Arrival) -> bool:
    """Whether the message has a step of 0, and a mutation that has nothing to do with it."""
    texts = [text for text, _ in item.mutations]
    return "step = 0" in texts and len(texts) > 1 and str(item.mutated().step) == "0"


def test_a_failure_is_described_without_the_mutations_that_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def take(self: Receiver, item: Any, message: Any) -> None:
        assert getattr(message, "step", 1) != 0, "a step of zero"

    monkeypatch.setattr(Receiver, "take", take)
    number = next(number for number in range(100_000) if is_example(arrival(0, number)))
    assert f"seed 0, message {number}: " in shrink(0, number)
    assert "; step = 0: AssertionError: a step of zero" in shrink(0, number)


def test_the_seed_and_the_number_determine_a_message() -> None:
    for number in (12, 34, 56):
        first, second = arrival(3, number), arrival(3, number)
        assert (first.kind, first.stream, first.now_ns) == (
            second.kind,
            second.stream,
            second.now_ns,
        )
        assert first.message == second.message
        assert [text for text, _ in first.mutations] == [text for text, _ in second.mutations]
