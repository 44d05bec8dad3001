# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fuzzer of messages: mutated images, camera_infos and transforms through converter and core.

Every message is made from the seed and its number alone. If one raises an exception, gives a frame
that does not fit its stream, or makes Python and numpy allocate more than four times its declared
size, the mutations that are not needed for the failure are removed, and the rest is printed.

    python -m benchmarks.fuzz_messages --messages 100000 --seed 0
"""

from __future__ import annotations

import argparse
import copy
import struct
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from rgbd_seg_ros.encodings import COLOR_ENCODINGS, DEPTH_ENCODINGS
from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.frames import STREAMS, CompressedFrame, Defect, Frame, Stream
from rgbd_seg_ros.gravity import TransformTree
from rgbd_seg_ros.images import to_intrinsics
from rgbd_seg_ros.progress import progress_bar
from rgbd_seg_ros.video import StreamDecoder

MAX_PIXELS = 1_000_000
#: Allocations allowed beyond four times the declared size and the message itself, bytes.
ALLOWANCE = 2_000_000
START_NS = 1_700_000_000_000_000_000
Mutation = Callable[[Any], None]
#: Values that are put into any field.
ODD: tuple[Any, ...] = (
    0, 1, -1, 2**31 - 1, 2**32 - 1, 2**63, float("nan"), float("inf"), None, "", "x" * 100_000,
    "rgb8", "16UC1", b"", [], {}, "\x00", 3.5,
)  # fmt: skip


def _namespace(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**values)


def _header(now_ns: int) -> SimpleNamespace:
    stamp = _namespace(sec=now_ns // 10**9, nanosec=now_ns % 10**9)
    return _namespace(stamp=stamp, frame_id="camera")


def _image(rng: np.random.Generator, now_ns: int) -> SimpleNamespace:
    encoding = str(rng.choice([*COLOR_ENCODINGS, *DEPTH_ENCODINGS]))
    height, width = int(rng.integers(1, 40)) * 2, int(rng.integers(1, 40)) * 2
    step = width * int(rng.choice([1, 2, 3, 4, 6, 8]))
    data = rng.integers(0, 256, step * height * int(rng.integers(1, 4)), dtype=np.uint8).tobytes()
    return _namespace(
        header=_header(now_ns), height=height, width=width, encoding=encoding,
        is_bigendian=int(rng.integers(2)), step=step, data=data,
    )  # fmt: skip


def _compressed(rng: np.random.Generator, now_ns: int) -> SimpleNamespace:
    size = (int(rng.integers(1, 60)), int(rng.integers(1, 60)))
    color = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    depth = rng.integers(0, 5000, size, dtype=np.uint16)
    suffix, form = [
        (".jpg", "rgb8; jpeg compressed bgr8"), (".png", "png"), (".webp", "webp"),
        (".tiff", "tiff"), (".bmp", "bmp"), (".png", "16UC1; compressedDepth"),
        (".png", "32FC1; compressedDepth png"), ("rvl", "16UC1; compressedDepth rvl"),
        ("", "h264"),
    ][rng.integers(9)]  # fmt: skip
    if suffix == "rvl":
        data = bytes(12) + struct.pack("<II", size[1], size[0]) + rng.bytes(size[0] * size[1])
    elif not suffix:
        data = b"\x00\x00\x00\x01\x67" + rng.bytes(200)
    elif "compressedDepth" in form:
        data = struct.pack("<iff", 0, 100.0, 0.0) + cv2.imencode(suffix, depth)[1].tobytes()
    else:
        data = cv2.imencode(suffix, color if rng.integers(4) else color[..., 0])[1].tobytes()
    return _namespace(header=_header(now_ns), format=form, data=data)


def _camera_info(rng: np.random.Generator, now_ns: int) -> SimpleNamespace:
    roi = _namespace(x_offset=0, y_offset=0, width=0, height=0)
    k = [500.0, 0.0, 40.0, 0.0, 500.0, 30.0, 0.0, 0.0, 1.0]
    return _namespace(
        header=_header(now_ns), height=60, width=80, k=k, binning_x=0, binning_y=0, roi=roi
    )


def _transforms(rng: np.random.Generator, now_ns: int) -> SimpleNamespace:
    names = ["base_link", "camera", "a", "b", ""]
    transforms = []
    for _ in range(int(rng.integers(0, 6))):
        parent, child = rng.choice(names, 2)
        x, y, z, w = (float(v) for v in rng.normal(size=4))
        transforms.append(
            _namespace(
                header=_namespace(stamp=_header(now_ns).stamp, frame_id=str(parent)),
                child_frame_id=str(child),
                transform=_namespace(
                    rotation=_namespace(x=x, y=y, z=z, w=w),
                    translation=_namespace(x=0.0, y=0.0, z=0.0),
                ),
            )
        )
    return _namespace(transforms=transforms)


KINDS: dict[str, Callable[[np.random.Generator, int], SimpleNamespace]] = {
    "Image": _image, "CompressedImage": _compressed, "CameraInfo": _camera_info, "TF": _transforms,
}  # fmt: skip


def _mutations(rng: np.random.Generator, message: SimpleNamespace) -> list[tuple[str, Mutation]]:
    """Up to four changes of a message, each with its description."""
    found: list[tuple[str, Mutation]] = []
    for _ in range(int(rng.integers(0, 5))):
        paths = list(_paths(message))
        path = paths[rng.integers(len(paths))]
        data = getattr(message, "data", None)
        if isinstance(data, bytes) and data and rng.integers(2):
            found.append(_data_mutation(rng, data))
        else:
            value = ODD[rng.integers(len(ODD))]
            shown = repr(value)[:40]
            found.append((f"{'.'.join(map(str, path))} = {shown}", _setter(path, value)))
    return found


def _data_mutation(rng: np.random.Generator, data: bytes) -> tuple[str, Mutation]:
    position, value = int(rng.integers(min(len(data), 64 if rng.integers(2) else len(data)))), 0
    kind = ("flip", "cut", "extend", "word")[rng.integers(4)]
    value = int(rng.choice([0, 1, 255, 2**31 - 1, 2**32 - 1]))

    def change(message: Any) -> None:
        old = message.data
        if not isinstance(old, bytes):
            return
        if kind == "flip":
            message.data = old[:position] + bytes([value % 256]) + old[position + 1 :]
        elif kind == "cut":
            message.data = old[:position]
        elif kind == "extend":
            message.data = old + bytes(position)
        else:
            message.data = old[:position] + struct.pack(">I", value) + old[position + 4 :]

    return f"data: {kind} at {position}, {value}", change


def _paths(thing: Any, path: tuple[Any, ...] = ()) -> Any:
    items = vars(thing).items() if isinstance(thing, SimpleNamespace) else enumerate(thing)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (SimpleNamespace, list)):
            yield from _paths(value, (*path, key))


def _setter(path: tuple[Any, ...], value: Any) -> Mutation:
    def change(message: Any) -> None:
        for key in path[:-1]:
            try:
                message = message[key] if isinstance(key, int) else getattr(message, key)
            except (AttributeError, LookupError, TypeError):
                return  # an earlier mutation has replaced it
        if isinstance(message, list) and isinstance(path[-1], int) and path[-1] < len(message):
            message[path[-1]] = value
        elif isinstance(message, SimpleNamespace):
            setattr(message, str(path[-1]), value)

    return change


class Receiver:
    """What the node does with a message: converter, transforms and core."""

    def __init__(self) -> None:
        self.core = Core()
        self.now_ns = START_NS
        self._decoders = {s: StreamDecoder(s, max_pixels=MAX_PIXELS) for s in STREAMS}
        self._transforms = TransformTree()
        self._intrinsics: Any = None

    def take(self, kind: str, stream: Stream, message: Any) -> None:
        """Process one message; raises AssertionError if the result breaks a rule."""
        if kind == "CameraInfo":
            self._intrinsics = to_intrinsics(message)
        elif kind == "TF":
            self._transforms.add(message)
        else:
            self._take_image(stream, message)

    def _take_image(self, stream: Stream, message: Any) -> None:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        item = self._decoders[stream].inspect(message, self._intrinsics)
        pixels = 0
        if isinstance(item, CompressedFrame):
            pixels = item.size[0] * item.size[1]
            _check(item.decode(), stream, item.size)
        else:
            _check(item, stream, None)
            pixels = 0 if isinstance(item, Defect) else item.size[0] * item.size[1]
        peak = tracemalloc.get_traced_memory()[1] - before
        data = getattr(message, "data", b"")
        own = len(data) if isinstance(data, (bytes, str, list)) else 0
        # Four bytes of a pixel: a float, or color with the step to three channels.
        limit = 4 * 4 * min(pixels, MAX_PIXELS) + 4 * own + ALLOWANCE
        assert peak <= limit, f"allocated {peak} bytes, at most {limit} are allowed"
        core = self.core
        core.tick(self.now_ns)
        core.offer(stream, item, self.now_ns)
        for frame in core.next_decodes(self.now_ns):
            core.decoded(frame, frame.decode(), self.now_ns)
        job = core.next_job(self.now_ns)
        if job is not None:
            core.accept_mask(job, self.now_ns)
        for name in STREAMS:
            assert 0 <= core.counters.pending(name) <= 40, (
                f"{name}: messages are not accounted for"
            )
        core.drain_mode_changes()
        for text in core.drain_warnings():
            assert len(text) < 1000, f"a warning of {len(text)} characters"


def _check(item: Any, stream: Stream, size: tuple[int, int] | None) -> None:
    if isinstance(item, Defect):
        assert len(item.detail) < 600, f"a detail of {len(item.detail)} characters"
        assert "\n" not in item.detail, "a detail of several lines"
        return
    assert isinstance(item, Frame), f"{type(item).__name__} is no frame"
    allowed = [(3, "uint8")] if stream == "rgb" else [(2, "uint16"), (2, "float32")]
    found = (item.array.ndim, str(item.array.dtype))
    assert found in allowed, f"{found} on stream {stream}"
    assert size is None or item.size == size, f"size {item.size}, but the header says {size}"
    assert 0 < item.size[0] * item.size[1] <= MAX_PIXELS, f"size {item.size}"


def make(seed: int, number: int) -> tuple[str, Stream, Any, list[tuple[str, Mutation]], int]:
    """A message of a seed: kind, stream, message, mutations and its time of arrival, ns."""
    rng = np.random.default_rng((seed, number))
    kind = str(rng.choice(list(KINDS), p=[0.45, 0.4, 0.1, 0.05]))
    stream = STREAMS[rng.integers(len(STREAMS))]
    now_ns = START_NS + number * 10_000_000
    message = KINDS[kind](rng, now_ns)
    return kind, stream, message, _mutations(rng, message), now_ns


def fails(receiver: Receiver, seed: int, number: int, kept: list[int] | None = None) -> str:
    """Why a message with the kept mutations (default: all) fails; empty if it does not."""
    kind, stream, message, mutations, receiver.now_ns = make(seed, number)
    message = copy.deepcopy(message)
    for index, (_, change) in enumerate(mutations):
        if kept is None or index in kept:
            change(message)
    try:
        receiver.take(kind, stream, message)
    # Any exception is a finding.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def shrink(seed: int, number: int) -> str:
    """A description of a failing message without the mutations that do not matter."""
    kind, stream, message, mutations, _ = make(seed, number)
    kept = list(range(len(mutations)))
    for index in list(kept):
        fewer = [other for other in kept if other != index]
        if fails(Receiver(), seed, number, fewer):
            kept = fewer
    reason = fails(Receiver(), seed, number, kept)
    changes = "; ".join(mutations[index][0] for index in kept) or "no mutation"
    form = getattr(message, "encoding", getattr(message, "format", ""))
    return (
        f"message {number}: {kind} {form} on {stream}; {changes}: {reason or 'only in sequence'}"
    )


def fuzz(messages: int, seed: int) -> tuple[list[str], dict[str, Any]]:
    """Fuzz; returns descriptions of the failures, and statistics."""
    receiver, failures, kinds = Receiver(), [], Counter[str]()
    slowest_s, slowest = 0.0, -1
    tracemalloc.start()
    begin_s = time.perf_counter()
    with progress_bar("fuzzing", messages) as bar:
        for number in range(messages):
            start_s = time.perf_counter()
            reason = fails(receiver, seed, number)
            took_s = time.perf_counter() - start_s
            if took_s > slowest_s:
                slowest_s, slowest = took_s, number
            kinds[make(seed, number)[0]] += 1
            if reason:
                failures.append(f"{shrink(seed, number)} ({reason})")
                receiver = Receiver()
            bar.update(1)
    tracemalloc.stop()
    statistics = {
        "messages": messages, "kinds": dict(kinds), "failures": len(failures),
        "seconds": round(time.perf_counter() - begin_s, 1),
        "slowest_ms": round(1e3 * slowest_s, 1), "slowest_message": slowest,
    }  # fmt: skip
    return failures, statistics


def main() -> int:
    """Fuzz and print the failures and statistics; returns 1 if there are failures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    args = parser.parse_args()
    failures, statistics = fuzz(args.messages, args.seed)
    for text in failures[:20]:
        print(text)
    print("\n".join(f"{key:16} {value}" for key, value in statistics.items()))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
