# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A slice of the fuzzer of messages; `python -m benchmarks.fuzz_messages` runs far more."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.fuzz_messages import Receiver, fuzz, make, shrink


def test_no_message_of_a_slice_breaks_a_rule() -> None:
    failures, statistics = fuzz(2000, seed=1)
    assert failures == []
    assert set(statistics["kinds"]) == {"Image", "CompressedImage", "CameraInfo", "TF"}


def test_a_failure_is_described_without_the_mutations_that_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def take(self: Receiver, kind: str, stream: str, message: Any) -> None:
        assert getattr(message, "step", 1) != 0, "a step of zero"

    monkeypatch.setattr(Receiver, "take", take)
    numbers = (n for n in range(100_000) if any(text == "step = 0" for text, _ in make(0, n)[3]))
    number = next(n for n in numbers if len(make(0, n)[3]) > 1)
    assert "; step = 0: AssertionError: a step of zero" in shrink(0, number)


def test_the_seed_and_the_number_determine_a_message() -> None:
    first, second = make(3, 7), make(3, 7)
    assert first[:2] == second[:2]
    assert first[2] == second[2]
    assert [text for text, _ in first[3]] == [text for text, _ in second[3]]
