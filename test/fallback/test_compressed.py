# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Compressed frames: which are decoded and when, and what happens if one proves unusable."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rigs.fallback.bench import T0, depth, rgb
from rigs.fallback.scenario import MS, S

from rgbd_seg_ros.fallback import Core, CoreConfig, Mode, State
from rgbd_seg_ros.frames import STREAMS, CompressedFrame, Defect, Frame, Stream

PERIOD = 33 * MS
BLACK = np.zeros((8, 8, 3), np.uint8)
EMPTY = np.zeros((8, 8), np.uint16)


class Camera:
    """Offers compressed frames to a core, and records which of them are decoded."""

    def __init__(self, **config: Any) -> None:
        self.core = Core(CoreConfig(**config))
        self.decoded: list[tuple[Stream, int]] = []
        #: What a stream's frames turn out to be; usable images by default.
        self.pixels: dict[Stream, Callable[[int], Frame | Defect]] = {}
        self.jobs: list[Any] = []

    def now(self, index: int) -> int:
        return T0 + index * PERIOD

    def frame(self, stream: Stream, index: int, frame_id: str = "camera") -> CompressedFrame:
        make = self.pixels.get(stream, rgb if stream == "rgb" else depth)

        def decode() -> Frame | Defect:
            self.decoded.append((stream, index))
            return make(self.now(index))

        return CompressedFrame((8, 8), self.now(index), frame_id, decode)

    def send(self, index: int, *streams: Stream, **frame: Any) -> None:
        for stream in streams or ("rgb", "depth"):
            self.core.offer(stream, self.frame(stream, index, **frame), self.now(index))

    def work(self, index: int) -> None:
        """Do what a free engine does."""
        now = self.now(index)
        while True:
            while frames := self.core.next_decodes(now):
                for frame in frames:
                    self.core.decoded(frame, frame.decode(), now)
            job = self.core.next_job(now)
            if job is None:
                return
            self.jobs.append(job)

    def run(self, begin: int, end: int, *streams: Stream, **frame: Any) -> None:
        for index in range(begin, end):
            self.core.tick(self.now(index))
            self.send(index, *streams, **frame)
            self.work(index)

    def check_accounting(self) -> None:
        counters = self.core.counters
        for stream in STREAMS:
            ended = sum(counters.fates[stream].values()) + sum(counters.unusable[stream].values())
            assert counters.offered[stream] == ended, stream


def test_every_pair_is_decoded_once_and_fused_if_the_engine_is_free() -> None:
    camera = Camera()
    camera.run(0, 20)
    assert [job.network for job in camera.jobs] == ["rgbd"] * 20
    assert all(isinstance(job.rgb, Frame) and isinstance(job.depth, Frame) for job in camera.jobs)
    assert sorted(camera.decoded) == sorted((s, i) for s in ("rgb", "depth") for i in range(20))
    camera.check_accounting()


def test_frames_that_a_busy_engine_does_not_need_are_never_decoded() -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.decoded.clear()
    for index in range(10, 25):
        camera.send(index)
    camera.work(24)
    assert sorted(camera.decoded) == [("depth", 24), ("rgb", 24)]
    assert camera.jobs[-1].stamp_ns == camera.now(24)
    assert camera.core.counters.fates["rgb"]["superseded"] == 14
    assert camera.core.mode is Mode.RGBD
    camera.check_accounting()


def test_a_stream_is_not_used_before_its_first_frame_is_decoded() -> None:
    camera = Camera()
    camera.send(0)
    assert camera.core.health["rgb"].state is State.WAITING
    assert camera.core.next_job(camera.now(0)) is None
    camera.work(0)
    assert [job.network for job in camera.jobs] == ["rgbd"]


@pytest.mark.parametrize(
    ("stream", "bad", "reason", "network"),
    [
        ("rgb", lambda t: rgb(t, array=BLACK), "black", "depth"),
        ("depth", lambda t: depth(t, array=EMPTY), "no_depth", "rgb"),
        ("rgb", lambda t: Defect("malformed", "cut off"), "malformed", "depth"),
    ],
)
def test_the_partner_of_an_unusable_frame_is_used_alone_at_once(
    stream: Stream, bad: Any, reason: str, network: str
) -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.pixels[stream] = bad
    camera.run(10, 11)
    assert camera.jobs[-1].network == network
    assert camera.jobs[-1].stamp_ns == camera.now(10)
    assert camera.core.counters.unusable[stream] == {reason: 1}
    assert camera.core.mode is Mode.RGBD  # one unusable frame does not make a stream lost
    camera.run(11, 13)
    assert camera.core.health[stream].state is State.LOST
    assert [job.network for job in camera.jobs[10:]] == [network] * 3
    del camera.pixels[stream]
    camera.run(13, 60)
    assert camera.core.mode is Mode.RGBD
    assert camera.jobs[-1].network == "rgbd"
    camera.check_accounting()


def test_two_unusable_frames_make_no_job() -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.pixels = {
        "rgb": lambda t: rgb(t, array=BLACK),
        "depth": lambda t: depth(t, array=EMPTY),
    }
    camera.run(10, 20)
    assert len(camera.jobs) == 10
    assert camera.core.mode is Mode.NO_INPUT
    camera.check_accounting()


def test_a_stream_that_no_job_uses_is_decoded_every_250_ms_and_can_be_lost() -> None:
    camera = Camera(force_network="rgb")
    camera.run(0, 40)
    indices = [index for stream, index in camera.decoded if stream == "depth"]
    assert indices[1:] == list(range(indices[1], 40, 8))  # 8 × 33 ms is the first beyond 250 ms
    camera.pixels["depth"] = lambda t: depth(t, array=EMPTY)
    camera.run(40, 40 + 4 * 8)
    assert camera.core.health["depth"].reason == "no_depth"
    assert set(camera.core.counters.unusable["depth"]) <= {"no_depth"}
    camera.check_accounting()


def test_the_detail_of_a_frame_that_no_job_uses_is_kept() -> None:
    camera = Camera(force_network="rgb")
    camera.run(0, 20)
    assert camera.core.counters.details["depth"] == {}
    camera.pixels["depth"] = lambda t: depth(t, array=EMPTY)
    camera.run(20, 29)
    assert camera.core.health["depth"].state is State.OK  # one unusable frame
    assert "0% of the pixels are valid" in camera.core.counters.details["depth"]["no_depth"]


def test_a_lost_stream_is_decoded_every_250_ms_while_jobs_wait() -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.pixels["depth"] = lambda t: depth(t, array=EMPTY)
    camera.run(10, 14)
    assert camera.core.health["depth"].state is State.LOST
    camera.decoded.clear()
    for index in range(14, 62):
        camera.send(index)
        now = camera.now(index)
        # The engine is never free for more than one mask per color frame.
        for frame in camera.core.next_decodes(now):
            camera.core.decoded(frame, frame.decode(), now)
        job = camera.core.next_job(now)
        assert job is not None
        assert (job.network, job.stamp_ns) == ("rgb", now)
    indices = [index for stream, index in camera.decoded if stream == "depth"]
    assert {after - before for before, after in itertools.pairwise(indices)} == {8}


def test_frozen_counts_decoded_frames() -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.pixels["rgb"] = lambda t: rgb(t, image=7)
    for index in range(10, 60):
        camera.send(index)
        if index % 5 == 0:  # an engine that is too slow for four of five pairs
            camera.work(index)
    # The image of index 10 and nine repeats pass; the tenth repeat is frozen.
    assert camera.core.health["rgb"].reason == "ok"
    camera.run(60, 62)
    assert camera.core.health["rgb"].reason == "frozen"
    camera.check_accounting()


def test_a_reset_during_decoding_ignores_the_result() -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.send(10)
    frames = camera.core.next_decodes(camera.now(10))
    assert len(frames) == 2
    camera.core.reset(camera.now(10))
    for frame in frames:
        camera.core.decoded(frame, frame.decode(), camera.now(10))
    assert camera.core.next_job(camera.now(10)) is None
    assert camera.core.counters.fates["rgb"]["reset"] == 1
    camera.check_accounting()


def test_a_job_whose_frames_are_too_old_is_not_decoded() -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.send(10)
    camera.decoded.clear()
    late = camera.now(10) + S + MS
    for now in range(camera.now(10), late, 100 * MS):
        camera.core.tick(now)  # a larger step would be one of the clock
    assert camera.core.next_decodes(late) == []
    assert camera.core.next_job(late) is None
    assert camera.core.counters.fates["rgb"]["late"] == 1
    camera.check_accounting()


def test_raw_depth_is_decoded_only_if_it_is_needed() -> None:
    camera = Camera()
    camera.run(0, 10, "rgb", "depth", "depth_raw")
    camera.decoded.clear()
    camera.run(10, 14, "rgb", "depth", "depth_raw")
    assert "depth_raw" not in [stream for stream, _ in camera.decoded]
    camera.run(14, 40, "depth_raw", frame_id="raw")
    assert camera.core.mode is Mode.DEPTH_ONLY
    assert camera.jobs[-1].raw
    camera.check_accounting()


def test_an_expired_mask_is_dropped_counted_and_told() -> None:
    camera = Camera()
    camera.run(0, 3)
    job = camera.jobs[-1]
    assert camera.core.accept_mask(job, job.stamp_ns + S)
    assert not camera.core.accept_mask(job, job.stamp_ns + S + MS)
    camera.core.config = replace(camera.core.config, max_age_s=2.0)
    assert camera.core.accept_mask(job, job.stamp_ns + 2 * S)
    assert not camera.core.accept_mask(job, job.stamp_ns + 2 * S + MS)
    camera.core.counters.masks_expired -= 1
    assert camera.core.counters.masks_expired == 1
    assert camera.core.drain_warnings() == [
        "a mask was dropped because its images were 1 s old when it was ready, and 0 s when it "
        "was begun, more than max_age_s=1: use a faster device or a smaller network, or raise "
        "max_age_s"
    ]


def test_images_that_are_old_on_arrival_have_another_remedy() -> None:
    camera = Camera()
    camera.run(0, 3)
    job = replace(camera.jobs[-1], age_rgb_ms=800.0)
    assert not camera.core.accept_mask(job, job.stamp_ns + 1100 * MS)
    (text,) = camera.core.drain_warnings()
    assert "1.1 s old when it was ready, and 0.8 s when it was begun" in text
    assert text.endswith("find out what delays the images or their stamps, or raise max_age_s")


# --- Damaged images and interrupted decoding ----------------------------------------------------


@pytest.mark.parametrize("size", [(4000, 4000), (4000, 3000)])
def test_the_header_of_a_damaged_image_sets_neither_size_nor_alignment(
    size: tuple[int, int],
) -> None:
    camera = Camera()
    camera.run(0, 10)
    damaged = CompressedFrame(
        size, camera.now(10), "other", lambda: Defect("malformed", "no end marker")
    )
    camera.core.offer("rgb", damaged, camera.now(10))
    camera.send(10, "depth")
    camera.work(10)
    assert (camera.jobs[-1].network, camera.jobs[-1].size) == ("depth", (8, 8))
    assert camera.core.mode is Mode.RGBD
    assert camera.core.drain_warnings() == [
        "rgb: a message is unusable (malformed): its size changed from 8×8 to "
        f"{size[1]}×{size[0]}; 3 in a row are accepted"
    ]


def test_geometry_follows_decoded_frames() -> None:
    camera = Camera()
    camera.run(0, 10)
    for index in range(10, 45):
        camera.core.tick(camera.now(index))
        camera.send(index, "rgb")
        camera.send(index, "depth", frame_id="depth_optical")
        camera.work(index)
        if index == 11:
            assert camera.core.mode is Mode.RGBD  # it counts from the third decoded frame on
    assert {job.network for job in camera.jobs[10:]} == {"rgb"}
    assert camera.core.mode is Mode.RGB_ONLY
    assert any("frame_id is 'depth_optical'" in text for text in camera.core.drain_warnings())


def test_a_clock_that_reads_zero_during_decoding_holds_up_no_job() -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.send(10)
    for frame in camera.core.next_decodes(camera.now(10)):
        camera.core.decoded(frame, frame.decode(), 0)
    camera.run(11, 20)
    assert [job.stamp_ns for job in camera.jobs] == [camera.now(i) for i in range(20)]
    camera.check_accounting()


def test_disabling_during_decoding_ignores_the_result() -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.send(10)
    frames = camera.core.next_decodes(camera.now(10))
    assert len(frames) == 2
    camera.core.set_enabled(False)
    for frame in frames:
        camera.core.decoded(frame, frame.decode(), camera.now(10))
    camera.check_accounting()
    assert camera.core.counters.fates["rgb"]["disabled"] == 1
    camera.core.set_enabled(True)
    for frame in frames:
        camera.core.decoded(frame, Defect("malformed", "late"), camera.now(11))
    assert camera.core.counters.unusable["rgb"] == {}
    camera.run(12, 20)
    assert camera.jobs[-1].network == "rgbd"
    camera.check_accounting()


def test_a_frame_that_becomes_stale_while_it_is_decoded_is_late() -> None:
    camera = Camera()
    camera.send(0, "rgb")
    (frame,) = camera.core.next_decodes(camera.now(0))
    later = camera.now(0) + S + MS
    camera.core.tick(camera.now(0) + S // 2)
    camera.core.tick(later)
    camera.core.decoded(frame, frame.decode(), later)
    assert camera.core.counters.fates["rgb"]["late"] == 1
    assert camera.core.health["rgb"].state is State.WAITING
    camera.check_accounting()


def test_only_the_newest_frame_of_a_waiting_stream_is_decoded() -> None:
    camera = Camera()
    for index in range(5):
        camera.send(index, "rgb")
    camera.work(4)
    assert camera.decoded == [("rgb", 4)]
    assert camera.core.counters.fates["rgb"]["superseded"] == 4


@pytest.mark.parametrize(("period_s", "decodes"), [(0.25, 4), (0.5, 2)])
def test_the_decoding_period_of_an_idle_stream(period_s: float, decodes: int) -> None:
    camera = Camera(decode_period_s=period_s, force_network="rgb")
    camera.run(0, 5)
    camera.decoded.clear()
    camera.run(5, 5 + 32)  # 1.06 s
    assert [stream for stream, _ in camera.decoded].count("depth") == decodes
    assert [stream for stream, _ in camera.decoded].count("rgb") == 32


def test_a_busy_engine_decodes_an_idle_stream_no_more_often_than_it_is_free() -> None:
    camera = Camera(force_network="rgb")
    camera.run(0, 5)
    camera.decoded.clear()
    for index in range(5, 65):
        camera.core.tick(camera.now(index))
        camera.send(index)
        if index % 20 == 4:  # every 0.66 s
            camera.work(index)
    assert sorted(camera.decoded) == [("depth", i) for i in (24, 44, 64)] + [
        ("rgb", i) for i in (24, 44, 64)
    ]


@pytest.mark.parametrize("next_pair_waits", [True, False])
def test_stamps_increase_if_the_later_frame_of_a_pair_is_used_alone(next_pair_waits: bool) -> None:
    """With this skew, depth of one instant is later than color of the next one."""
    camera = Camera(max_skew_ms=40)
    lag = PERIOD + 2 * MS

    def send(index: int) -> None:
        camera.send(index, "rgb")
        late = replace(camera.frame("depth", index), stamp_ns=camera.now(index) + lag)
        camera.core.offer("depth", late, camera.now(index))

    for index in range(10):
        send(index)
        camera.work(index)
    camera.pixels["rgb"] = lambda stamp: rgb(stamp, array=BLACK)
    send(10)
    camera.pixels.clear()
    frames = camera.core.next_decodes(camera.now(10))
    assert len(frames) == 2
    if next_pair_waits:
        send(11)
    for frame in frames:
        camera.core.decoded(frame, frame.decode(), camera.now(10))
    camera.work(10)
    if not next_pair_waits:
        send(11)
    for index in range(12, 15):
        camera.work(index)
        send(index)
    stamps = [job.stamp_ns for job in camera.jobs]
    assert stamps == sorted(set(stamps))
    expected = camera.now(11) if next_pair_waits else camera.now(10) + lag
    assert stamps[10] == expected


# --- Another size -------------------------------------------------------------------------------


class Resized(Camera):
    """A camera whose color frames at the instants in ``other`` have another size."""

    def __init__(self, other: range, step: int, **config: Any) -> None:
        super().__init__(**config)
        self.other = range(other.start, other.stop, step)
        self.shape = (6000, 8000)

    def frame(self, stream: Stream, index: int, frame_id: str = "camera") -> CompressedFrame:
        frame = super().frame(stream, index, frame_id)
        if stream == "rgb" and index in self.other:
            frame = replace(frame, size=self.shape)
        return frame

    def change(self, shape: tuple[int, int], encoding: str = "rgb8") -> None:
        """From now on, color has this size and encoding; each image differs from the last."""
        self.shape = shape
        pixels = np.arange(shape[0] * shape[1] * 3, dtype=np.uint8).reshape(*shape, 3)
        self.pixels["rgb"] = lambda stamp: rgb(
            stamp, array=pixels + np.uint8(stamp // PERIOD % 9), encoding=encoding
        )


def test_huge_images_between_good_ones_are_never_decoded() -> None:
    camera = Resized(range(10, 40), 3)
    camera.run(0, 40)
    assert not {("rgb", index) for index in camera.other} & set(camera.decoded)
    networks = {job.stamp_ns: job.network for job in camera.jobs}
    assert [networks[camera.now(index)] for index in range(40)] == [
        "depth" if index in camera.other else "rgbd" for index in range(40)
    ]
    assert camera.core.counters.unusable["rgb"] == {"malformed": 10}
    assert camera.core.mode is Mode.RGBD
    camera.check_accounting()


def test_sizes_that_keep_changing_are_never_decoded() -> None:
    camera = Resized(range(10, 40), 1)
    for index in range(40):
        camera.shape = (6000, 8000 + index % 2)
        camera.run(index, index + 1)
    assert max(index for stream, index in camera.decoded if stream == "rgb") == 9
    assert camera.core.counters.unusable["rgb"] == {"malformed": 30}


def test_the_third_frame_of_a_new_size_is_decoded_and_used() -> None:
    camera = Resized(range(10, 80), 1)
    camera.run(0, 10)
    camera.change((12, 16))
    camera.run(10, 80)
    first = next(index for stream, index in camera.decoded if stream == "rgb" and index >= 10)
    assert first == 12
    assert camera.core.counters.unusable["rgb"] == {"malformed": 2}
    assert camera.jobs[-1].rgb.size == (12, 16)


def test_a_new_size_is_never_accepted_if_changes_are_not() -> None:
    camera = Resized(range(10, 30), 1, accept_change_after=0)
    camera.run(0, 30)
    assert max(index for stream, index in camera.decoded if stream == "rgb") == 9
    assert camera.core.counters.unusable["rgb"] == {"malformed": 20}


def test_an_accepted_size_does_not_shorten_the_next_change() -> None:
    camera = Resized(range(10, 30), 1)
    camera.run(0, 10)
    camera.change((12, 16))
    camera.run(10, 20)
    camera.change((12, 16), encoding="another")
    camera.run(20, 22)
    assert camera.core.counters.unusable["rgb"] == {"malformed": 4}


# --- Slow decoding ------------------------------------------------------------------------------


def test_the_partner_of_a_frame_that_decodes_too_slowly_is_used_alone() -> None:
    camera = Camera()
    camera.run(0, 10)
    camera.send(10)
    now = camera.now(10)
    frames = {camera.core.stream_of(f): f for f in camera.core.next_decodes(now)}
    camera.core.decoded(frames["rgb"], frames["rgb"].decode(), now + MS)
    assert camera.core.next_job(now + MS) is None
    assert camera.core._work.decode_deadline_ns == now + 500 * MS
    camera.core.tick(now + 500 * MS)
    job = camera.core.next_job(now + 500 * MS)
    assert job is not None
    assert (job.network, job.stamp_ns) == ("rgb", now)
    assert camera.core.counters.unusable["depth"] == {"slow_decode": 1}
    assert camera.core.drain_warnings() == [
        "depth: a message is unusable (slow_decode): decoding 8×8 pixels takes 0.5 s or more, "
        "decode_timeout_s is 0.5: send smaller or raw images"
    ]
    # Its late result is no frame of a later job.
    camera.send(25)
    later = camera.now(25)
    (second,) = camera.core.next_decodes(later)  # depth is still busy: it is not decoded again
    assert camera.core.stream_of(second) == "rgb"
    camera.core.decoded(frames["depth"], frames["depth"].decode(), later)
    camera.core.decoded(second, second.decode(), later)
    job = camera.core.next_job(later)
    assert job is not None
    assert (job.network, job.depth) == ("rgb", None)
    camera.check_accounting()


def test_a_stream_that_always_decodes_too_slowly_is_lost() -> None:
    camera = Camera()
    camera.run(0, 10)
    decoding: list[CompressedFrame] = []
    for index in range(10, 60):
        now = camera.now(index)
        camera.core.tick(now)
        camera.send(index)
        while True:
            for frame in camera.core.next_decodes(now):
                if camera.core.stream_of(frame) == "depth":
                    decoding.append(frame)  # never ends
                else:
                    camera.core.decoded(frame, frame.decode(), now)
            job = camera.core.next_job(now)
            if job is None:
                break
            camera.jobs.append(job)
    assert camera.core.health["depth"].reason == "slow_decode"
    assert camera.core.mode is Mode.RGB_ONLY
    assert len(decoding) == 1  # its thread is never given a second frame
    networks = {job.stamp_ns: job.network for job in camera.jobs}
    assert [networks[camera.now(index)] for index in range(30, 60)] == ["rgb"] * 30


@pytest.mark.parametrize("decode_ms", [100, 260, 900])
@pytest.mark.parametrize("stream", ["depth", "depth_raw"])
def test_raw_color_never_waits_for_a_stream_that_no_mask_needs(
    decode_ms: int, stream: Stream
) -> None:
    camera = Camera()
    camera.pixels[stream] = lambda t: depth(t, array=EMPTY)
    busy: list[tuple[int, CompressedFrame]] = []
    for index in range(90):
        now = camera.now(index)
        for done, frame in busy[:]:
            if done <= now:
                busy.remove((done, frame))
                camera.core.decoded(frame, frame.decode(), done)
        camera.core.tick(now)
        camera.core.offer("rgb", rgb(now), now)
        camera.core.offer(stream, camera.frame(stream, index, "raw"), now)
        for frame in camera.core.next_decodes(now):
            busy.append((now + decode_ms * MS, frame))
        assert len(busy) <= 1
        job = camera.core.next_job(now)
        if job is not None:
            camera.jobs.append(job)
    stamps = [job.stamp_ns for job in camera.jobs]
    assert stamps[-60:] == [camera.now(index) for index in range(30, 90)]
    assert {job.network for job in camera.jobs} == {"rgb"}
