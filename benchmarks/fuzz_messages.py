# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fuzzer of messages: mutated images, camera_infos and transforms through converter and core.

    python -m benchmarks.fuzz_messages --messages 100000 --seed 0 2>/dev/null

Every message is made from the seed and its number alone (test/rigs/message_mutations.py). Between
the mutated ones, enough intact ones arrive for the core to form jobs. A failure is an exception, a
result that does not fit its stream, a message that the core does not account for, or memory of
more than four times the declared size and the message. It is printed without the messages and the
mutations that it does not need. OpenCV and libjpeg write their own complaints to stderr.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "test"))

from rigs.message_mutations import BLOCK, START_NS, Arrival, arrival
from rigs.message_seeds import MAX_PIXELS

from rgbd_seg_ros.fallback import Core, Job
from rgbd_seg_ros.frames import STREAMS, CompressedFrame, Defect, Frame, Stream
from rgbd_seg_ros.gravity import TransformTree
from rgbd_seg_ros.image_size import read_header
from rgbd_seg_ros.images import to_intrinsics
from rgbd_seg_ros.progress import progress_bar
from rgbd_seg_ros.video import StreamDecoder

#: Memory beyond four times the declared size and the message, bytes: of Python and NumPy, and of
#: the process, in which decoders have buffers of their own.
TRACED_ALLOWANCE, RESIDENT_ALLOWANCE = 2_000_000, 8_000_000
#: The receiver starts anew after so many messages, so that a failure can be reproduced quickly.
SPAN = 2 * BLOCK
MAX_PENDING = 64
MAX_DETAIL = 400


@dataclass
class Statistics:
    """What the fuzzer did."""

    messages: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    #: The slowest message of each kind: milliseconds, while memory is traced, and its number.
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)
    #: Largest memory of a message, in units of its declared size and its own (from 1 MB on).
    worst_factor: float = 0.0
    worst: int = -1


class Memory:
    """Peak memory since the start of a message: traced by Python, and resident on Linux."""

    def __init__(self) -> None:
        self.is_resident = os.access("/proc/self/clear_refs", os.W_OK)
        self._traced = self._resident = 0

    def start(self) -> None:
        """Forget earlier peaks."""
        if self.is_resident:
            Path("/proc/self/clear_refs").write_text("5")
            self._resident = _resident_peak()
        tracemalloc.reset_peak()
        self._traced = tracemalloc.get_traced_memory()[0]

    def peaks(self) -> tuple[int, int]:
        """Bytes above the start: traced and resident; the latter is 0 where it is not known."""
        traced = tracemalloc.get_traced_memory()[1] - self._traced
        return traced, _resident_peak() - self._resident if self.is_resident else 0


def _resident_peak() -> int:
    status = Path("/proc/self/status").read_bytes()
    return 1024 * int(status[status.index(b"VmHWM:") + 6 :].split(maxsplit=1)[0])


class Receiver:
    """What the node does with a message: converter, transforms and core."""

    def __init__(self, statistics: Statistics | None = None) -> None:
        self.core = Core(need_intrinsics=("depth",))
        self.statistics = statistics or Statistics()
        self.memory = Memory()
        self._decoders = {s: StreamDecoder(s, max_pixels=MAX_PIXELS) for s in STREAMS}
        self._transforms = TransformTree()
        self._intrinsics: dict[Stream, Any] = {}
        self._offered: Counter[str] = Counter()
        self._now_ns = START_NS
        #: Declared size and bytes of each compressed frame that the core may still have decoded.
        self._bases: WeakKeyDictionary[CompressedFrame, int] = WeakKeyDictionary()

    def take(self, item: Arrival, message: Any) -> None:
        """Process one message; raises AssertionError if the result breaks a rule."""
        if item.kind == "CameraInfo":
            self._intrinsics[item.stream] = to_intrinsics(message)
        elif item.kind == "TF":
            self._transforms.add(message)
            down = self._transforms.down("camera", "base_link")
            assert down is None or abs(float(np.linalg.norm(down)) - 1) < 1e-3, f"down is {down}"
        else:
            self._take_image(item, message)

    def _take_image(self, item: Arrival, message: Any) -> None:
        own = _bytes_of(getattr(message, "data", b""))
        self.memory.start()
        found = self._decoders[item.stream].inspect(message, self._intrinsics.get(item.stream))
        result = found.decode() if isinstance(found, CompressedFrame) else found
        peaks = self.memory.peaks()
        declared = 0 if isinstance(found, Defect) else _declared(item.stream, found, message)
        self._check_memory(item, peaks, declared + own)
        size = found.size if isinstance(found, CompressedFrame) else None
        _check_result(result, item.stream, size)
        if isinstance(found, Frame):
            assert found.size == (message.height, message.width), f"{found.size} is another size"
        if isinstance(found, CompressedFrame):
            self._bases[found] = declared + own
        self.statistics.results[f"{type(found).__name__} → {type(result).__name__}"] += 1
        del result
        self.memory.start()
        decoded = self._drive(item, found)
        self._check_memory(item, self.memory.peaks(), declared + own + decoded)

    def _check_memory(self, item: Arrival, peaks: tuple[int, int], basis: int) -> None:
        """Compare the peaks with the declared sizes and the bytes of what was decoded."""
        allowances = (TRACED_ALLOWANCE, RESIDENT_ALLOWANCE)
        for name, peak, allowance in zip(("traced", "resident"), peaks, allowances, strict=True):
            limit = 4 * basis + allowance
            assert peak <= limit, (
                f"{peak} bytes of {name} memory for {basis} bytes of declared size and message; "
                f"the limit is {limit}"
            )
            if basis > 1_000_000 and peak / basis > self.statistics.worst_factor:
                self.statistics.worst_factor = peak / basis
                self.statistics.worst = item.number

    def _drive(self, item: Arrival, found: Frame | CompressedFrame | Defect) -> int:
        """Drive the core as the skins do; while the engine is busy, nothing is decoded.

        Returns:
            Declared sizes and bytes of all frames that the core had decoded.
        """
        core, now_ns, decoded = self.core, item.now_ns, 0
        deadline_ns = core.next_deadline(now_ns)
        if deadline_ns is not None and deadline_ns <= now_ns:
            core.tick(now_ns)
        core.offer(item.stream, found, now_ns)
        self._now_ns = now_ns if now_ns > 0 else self._now_ns
        self._offered[item.stream] += 1
        if item.number % 7:
            decoded = self._run_engine(now_ns)
        for stream in STREAMS:
            offered, pending = core.counters.offered[stream], core.counters.pending(stream)
            assert offered == self._offered[stream], f"{stream}: {offered} messages were offered"
            assert 0 <= pending <= MAX_PENDING, f"{stream}: {pending} messages are pending"
            for detail in core.counters.details[stream].values():
                _check_line(detail)
        core.drain_mode_changes()
        for text in core.drain_warnings():
            _check_line(text, 2 * MAX_DETAIL)
        return decoded

    def _run_engine(self, now_ns: int) -> int:
        """Decode and take jobs until there are none; returns the bytes as above."""
        core, decoded = self.core, 0
        while True:
            while frames := core.next_decodes(now_ns):
                for frame in frames:
                    decoded += self._bases[frame]
                    core.decoded(frame, frame.decode(), now_ns)
            job = core.next_job(now_ns)
            if job is None:
                return decoded
            _check_job(job)
            self.statistics.jobs[job.network] += 1
            core.accept_mask(job, now_ns)

    def settle(self) -> None:
        """Let no more messages arrive; then every wait ends, and no message may stay pending."""
        for _ in range(20):
            self._now_ns += 100_000_000
            self.core.tick(self._now_ns)
            self._run_engine(self._now_ns)
        for stream in STREAMS:
            pending = self.core.counters.pending(stream)
            assert pending == 0, f"{stream}: {pending} messages have no fate after two seconds"


def _bytes_of(data: Any) -> int:
    try:
        return memoryview(data).nbytes
    except TypeError:
        return 8 * len(data) if hasattr(data, "__len__") else 0


def _declared(stream: Stream, found: Frame | CompressedFrame, message: Any) -> int:
    """Bytes of the image that the message declares, as stored or as a frame; capped."""
    pixels = found.size[0] * found.size[1]
    assert 0 < pixels <= MAX_PIXELS, f"a size of {found.size} was accepted"
    result = 3 if stream == "rgb" else 4
    if isinstance(found, Frame):
        return pixels * result
    data = memoryview(message.data).tobytes()
    header = read_header(data) or read_header(data[12:])
    stored = 0 if header is None else math.ceil(min(header.channels, 4) * header.bits / 8)
    return pixels * max(result, stored)


def _check_line(text: str, longest: int = MAX_DETAIL) -> None:
    assert len(text) <= longest, f"a line of {len(text)} characters: {text[:100]}"
    assert text.isprintable(), f"a line with control characters: {text!r}"[:200]


def _check_result(item: Any, stream: Stream, size: tuple[int, int] | None) -> None:
    if isinstance(item, Defect):
        assert item.detail, "a Defect without a detail"
        _check_line(item.detail)
        return
    assert isinstance(item, Frame), f"{type(item).__name__} is no frame"
    array = item.array
    kinds = [(3, "uint8")] if stream == "rgb" else [(2, "uint16"), (2, "float32")]
    assert (array.ndim, str(array.dtype)) in kinds, f"{array.dtype} {array.shape} on {stream}"
    assert stream != "rgb" or array.shape[2] == 3, f"{array.shape} on {stream}"
    assert size is None or item.size == size, f"size {item.size}, but the header says {size}"
    np.count_nonzero(array)  # every pixel can be read


def _check_job(job: Job) -> None:
    frames = {"rgb": job.rgb, "depth": job.depth}
    expected = {"rgbd": {"rgb", "depth"}, "rgb": {"rgb"}, "depth": {"depth"}}[job.network]
    assert {name for name, frame in frames.items() if frame is not None} == expected, job.network
    for name, frame in frames.items():
        if frame is not None:
            _check_result(frame, "rgb" if name == "rgb" else "depth", None)
    assert min(job.size) > 0, f"a mask of {job.size}"


# --- Failures ----------------------------------------------------------------------------------


def failure(receiver: Receiver, item: Arrival, kept: set[int] | None = None) -> str:
    """Why a message with the kept mutations (default: all) fails; empty if it does not."""
    message, statistics = item.mutated(kept), receiver.statistics
    start_s = time.perf_counter()
    try:
        receiver.take(item, message)
        if item.number % SPAN == SPAN - 1:
            receiver.settle()
    # Any exception is a finding.
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    took_ms = 1e3 * (time.perf_counter() - start_s)
    if took_ms > statistics.slowest.get(item.kind, (0.0, 0))[0]:
        statistics.slowest[item.kind] = round(took_ms, 1), item.number
    return ""


def play(seed: int, numbers: list[int], kept: set[int] | None = None) -> str:
    """Why the last of these messages fails in a new receiver, with these of its mutations."""
    receiver = Receiver()
    for number in numbers[:-1]:
        if failure(receiver, arrival(seed, number)):
            receiver = Receiver()
    return failure(receiver, arrival(seed, numbers[-1]), kept)


def shrink(seed: int, number: int) -> str:
    """One line: the fewest messages and mutations with which this message still fails."""
    item = arrival(seed, number)
    numbers = [number]
    if not play(seed, numbers):
        numbers = list(range(number - number % SPAN, number + 1))
        for size in (64, 16, 4, 1):
            start = 0
            while start < len(numbers) - 1:
                fewer = [*numbers[:start], *numbers[start + size : -1], number]
                if play(seed, fewer):
                    numbers = fewer
                else:
                    start += size
    kept = set(range(len(item.mutations)))
    for index in sorted(kept):
        if play(seed, numbers, kept - {index}):
            kept -= {index}
    reason = play(seed, numbers, kept) or "not reproduced by the messages before it"
    form = getattr(item.message, "encoding", getattr(item.message, "format", ""))
    changes = "; ".join(item.mutations[index][0] for index in sorted(kept)) or "no mutation"
    before = f" after {numbers[:-1]}" if numbers[:-1] else ""
    return (
        f"seed {seed}, message {number}{before}: {item.kind} {form} on {item.stream}; {changes}: "
        f"{reason}"
    )


def fuzz(
    messages: int, seed: int, first: int = 0, minutes: float = math.inf
) -> tuple[list[str], Statistics]:
    """Fuzz with the messages from ``first`` on; one line per failure, and statistics."""
    statistics, failures = Statistics(), []
    for number in range(first, first + BLOCK):  # imports and caches must not count
        failure(Receiver(), arrival(seed, number))
    receiver = Receiver(statistics)
    _return_freed_memory()
    tracemalloc.start()
    begin_s = time.perf_counter()
    with progress_bar("fuzzing", messages) as bar:
        for number in range(first, first + messages):
            if time.perf_counter() - begin_s > 60 * minutes:
                break
            if number % SPAN == 0:
                statistics.fates += _fates(receiver.core)
                receiver = Receiver(statistics)
            item = arrival(seed, number)
            reason = failure(receiver, item)
            statistics.kinds[item.kind] += 1
            statistics.messages += 1
            if reason:
                failures.append(shrink(seed, number))
                statistics.fates += _fates(receiver.core)
                receiver = Receiver(statistics)
            bar.update(1)
    tracemalloc.stop()
    statistics.fates += _fates(receiver.core)
    statistics.seconds = round(time.perf_counter() - begin_s, 1)
    return failures, statistics


def _fates(core: Core) -> Counter[str]:
    counts = Counter[str]()
    for stream in STREAMS:
        counts.update({k: n for k, n in core.counters.fates[stream].items() if n})
        counts.update({k: n for k, n in core.counters.unusable[stream].items() if n})
    return counts


def _return_freed_memory() -> None:
    """Let the C library return large blocks at once, or the next message would reuse them."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(-3, 1 << 17)  # M_MMAP_THRESHOLD, which otherwise adapts to the blocks freed


def main() -> int:
    """Fuzz and print failures and statistics; returns 1 if there are failures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--first", type=int, default=0, help="number of the first message")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    args = parser.parse_args()
    if min(args.messages, args.seed, args.first) < 0 or not args.minutes > 0:
        parser.error("--messages, --seed and --first must be 0 or more, --minutes more than 0")
    failures, statistics = fuzz(args.messages, args.seed, args.first, args.minutes)
    for text in failures[:20]:
        print(text)
    print(f"{'failures':13} {len(failures)}")
    for name, value in vars(statistics).items():
        text = dict(value.most_common()) if isinstance(value, Counter) else value
        print(f"{name:13} {round(text, 2) if isinstance(text, float) else text}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
