# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Mutated messages for the fuzzer: what a seed and a number make, and what can be left out."""

from __future__ import annotations

import array
import copy
import functools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace as Namespace
from typing import Any

import numpy as np
from rigs import message_seeds as seeds
from rigs.message_seeds import chunk

from rgbd_seg_ros.frames import STREAMS, Stream

#: Messages with the same cameras: so many arrive before encodings and sizes change.
BLOCK = 100
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 8_000_000
#: A long chain of transforms is rare, because it takes a second.
LONG_CHAIN, LONG_CHAIN_EVERY = 100_000, 20_011

#: One change of a message; it ignores what an earlier one has replaced.
Mutation = tuple[str, Callable[[Any], None]]
#: Values that are put into any field.
ODD: tuple[Any, ...] = (
    0, 1, -1, 3, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64, -(2**63), 10**400, -0.0,
    3.5, 1e-300, 1e18, 1e308, float("nan"), float("inf"), float("-inf"), None, True, "", "0", "8",
    "\0", "a\nb\r", "é" * 40, "x" * 100_000, "rgb8", "16UC1", "h264", "nan", b"", b"\xff" * 9, [],
    [1, 2], {}, {"a": 1}, object, np.float32(2), np.int64(4), np.zeros(3), Namespace(),
)  # fmt: skip
STAMPS = (-(2**63), -1, 0, 1, 10**9, 2**31 * 10**9, 2**63, 10**30, START_NS - 10**12, 10**400)
NAMES = ("base_link", "camera", "a", "b", "", "/camera", "//", "odom", "é", "x" * 10_000)


@dataclass(frozen=True)
class Arrival:
    """One message of the fuzzer, before its mutations are applied."""

    number: int
    kind: str
    stream: Stream
    message: Namespace
    mutations: list[Mutation]
    now_ns: int

    def mutated(self, kept: set[int] | None = None) -> Namespace:
        """The message with these of its mutations, by default all."""
        message = copy.deepcopy(self.message)
        for index, (_, change) in enumerate(self.mutations):
            if kept is None or index in kept:
                change(message)
        return message


def arrival(seed: int, number: int) -> Arrival:
    """The message of a seed and a number; nothing else has any influence on it."""
    rng = np.random.default_rng((seed, number))
    forms, share, jump_ns = _cameras(seed, number // BLOCK)
    now_ns = START_NS + number * PERIOD_NS + jump_ns
    if rng.random() < 0.002:
        now_ns = int(rng.choice([0, -1, 1, 10**18]))
    chosen, even = rng.random(), number % 2 == 0
    stream: Stream = "depth_raw" if chosen < 0.06 else "rgb" if even else "depth"
    # Two images of one instant have one stamp.
    stamp_ns = START_NS + number // 2 * 2 * PERIOD_NS + jump_ns - 2_000_000
    if number % LONG_CHAIN_EVERY == 7 or 0.06 <= chosen < 0.1:
        kind, message = "TF", _transforms(rng, stamp_ns, long=number % LONG_CHAIN_EVERY == 7)
    elif chosen < 0.2:
        kind, message = "CameraInfo", seeds.camera_info(stamp_ns)
    else:
        form, size = forms[stream]
        message = seeds.image(stream, form, size, number // 2, stamp_ns)
        kind = "CompressedImage" if form.startswith("compressed ") else "Image"
    mutations = _mutations(rng, message) if rng.random() < share else []
    return Arrival(number, kind, stream, message, mutations, now_ns)


@functools.lru_cache(maxsize=4)
def _cameras(
    seed: int, block: int
) -> tuple[dict[Stream, tuple[str, tuple[int, int]]], float, int]:
    """Form and size of each stream, the share of mutated messages, and a jump of the clock."""
    rng = np.random.default_rng((seed, block, 1))
    weights = np.array([3.0] * (len(seeds.SIZES) - 1) + [0.5])
    both = seeds.SIZES[rng.choice(len(seeds.SIZES), p=weights / weights.sum())]
    cameras = {}
    for stream in STREAMS:
        known = seeds.forms(stream)
        is_raw = rng.random() < 0.4
        pool = [form for form in known if form.startswith("compressed ") != is_raw]
        size = both if rng.random() < 0.8 else seeds.SIZES[rng.integers(len(seeds.SIZES) - 1)]
        cameras[stream] = (str(rng.choice(pool)), size)
    share = float(rng.choice([0.2, 0.5, 0.8, 1.0]))
    jump_ns = int(rng.choice([0, 0, 0, 0, 0, 0, 3, -3, 100])) * 10**9
    return cameras, share, jump_ns


def _transforms(rng: np.random.Generator, stamp_ns: int, *, long: bool) -> Namespace:
    choice = rng.integers(4)
    if long or choice == 0:
        length = LONG_CHAIN if long else int(rng.integers(1, 200))
        names = ["camera", *(f"link{i}" for i in range(length)), "base_link"]
        links = list(zip(names[1:], names[:-1], strict=True))
        if rng.random() < 0.3:
            links.append(("camera", "base_link"))  # a loop
    else:
        links = [
            (NAMES[a], NAMES[b]) for a, b in rng.integers(len(NAMES), size=(rng.integers(8), 2))
        ]
    rotations = rng.normal(size=(len(links), 4))
    if choice == 1 and len(links):
        rotations[rng.integers(len(links))] = [0, np.nan, np.inf, 1e-200, 1e200][rng.integers(5)]
    return seeds.transforms(links, rotations, stamp_ns)


# --- Mutations ---------------------------------------------------------------------------------


def _mutations(rng: np.random.Generator, message: Namespace) -> list[Mutation]:
    return [_mutation(rng, message) for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 5]))]


def _mutation(rng: np.random.Generator, message: Namespace) -> Mutation:
    choice = rng.random()
    has_data = hasattr(message, "data")
    if has_data and choice < 0.5:
        return _data_mutation(rng, message)
    if choice < 0.62 and hasattr(message, "header"):
        stamp = seeds.header(STAMPS[rng.integers(len(STAMPS))]).stamp
        return f"stamp = {stamp.sec:.6g} s" if abs(stamp.sec) < 10**300 else "stamp = 10**391 s", (
            _setter(("header", "stamp"), stamp)
        )
    if has_data and hasattr(message, "step") and choice < 0.8:
        name = ("height", "width", "step", "encoding", "is_bigendian")[rng.integers(5)]
        value: Any = int(getattr(message, name, 1) if name != "encoding" else 1)
        value = [value + 1, value - 1, 2 * value, -value, 0, 2**16, 2**31, 10**6][rng.integers(8)]
        if name == "encoding":
            known = (*seeds.COLOR_ENCODINGS, *seeds.DEPTH_ENCODINGS, "64FC1", "RGB8", "rgb8 ")
            value = known[rng.integers(len(known))]
        return f"{name} = {value!r}", _setter((name,), value)
    if hasattr(message, "format") and choice < 0.7:
        texts = [text for _, text in (*seeds.COLOR_FORMS, *seeds.DEPTH_FORMS)]
        text = texts[rng.integers(len(texts))]
        return f"format = {text!r}", _setter(("format",), text)
    paths = list(_paths(message))
    path = paths[rng.integers(len(paths))] if paths else ("header",)
    odd = ODD[rng.integers(len(ODD))]
    name = ".".join(map(str, path))
    return f"{name} = {odd!r}"[:120], _setter(path, odd)


def _data_mutation(rng: np.random.Generator, message: Namespace) -> Mutation:
    name = list(_DATA_MUTATIONS)[rng.integers(len(_DATA_MUTATIONS))]
    own = int(rng.integers(2**63))

    def change(changed: Any) -> None:
        data = getattr(changed, "data", None)
        if isinstance(data, bytes) and data:
            changed.data = _DATA_MUTATIONS[name](np.random.default_rng(own), data)

    return f"data: {name} {own}", change


def _where(rng: np.random.Generator, data: bytes) -> int:
    """A position, in every second case among the first 64 bytes, where headers are."""
    return int(rng.integers(min(len(data), 64) if rng.random() < 0.5 else len(data)))


def _flip(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        changed[_where(rng, data)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _word(rng: np.random.Generator, data: bytes) -> bytes:
    at = _where(rng, data)
    value = [0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 5000][rng.integers(8)]
    packed = struct.pack(("<", ">")[rng.integers(2)] + "I", value)
    packed = packed if rng.random() < 0.5 else packed[:2]
    return data[:at] + packed + data[at + len(packed) :]


def _insert(rng: np.random.Generator, data: bytes) -> bytes:
    at, start, end = (_where(rng, data) for _ in range(3))
    return data[:at] + data[min(start, end) : max(start, end)] + data[at:]


def _splice(rng: np.random.Generator, data: bytes) -> bytes:
    stream = ("rgb", "depth")[rng.integers(2)]
    forms = [form for form in seeds.forms(stream) if form.startswith("compressed ")]
    size = seeds.SIZES[rng.integers(len(seeds.SIZES))]
    other = seeds.image(stream, forms[rng.integers(len(forms))], size, int(rng.integers(4)), 0)
    return data[: _where(rng, data)] + other.data[_where(rng, other.data) :]


def _lie(rng: np.random.Generator, data: bytes) -> bytes:
    """Another size or pixel type in the header, with a correct checksum."""
    sides = [int(v) for v in rng.choice([0, 1, 15, 64, 1000, 5000, 2**16 - 1, 2**31 - 1], 2)]
    at = data.find(b"\x89PNG")
    if at >= 0 and len(data) >= at + 33:
        packed = bytearray(data[at + 16 : at + 29])
        if rng.random() < 0.6:
            packed[:8] = struct.pack(">II", *sides)
        else:
            at_byte = int(rng.integers(8, 13))
            packed[at_byte] = [0, 1, 2, 3, 4, 6, 8, 16, 255][rng.integers(9)]
        return data[: at + 8] + chunk(b"IHDR", bytes(packed)) + data[at + 33 :]
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        at = data.find(marker)
        if data[:2] == b"\xff\xd8" and at >= 0:
            small = [min(side, 2**16 - 1) for side in sides]
            return data[: at + 5] + struct.pack(">HH", *small) + data[at + 9 :]
    at = 18 if data[:2] == b"BM" else 12  # RVL
    return data[:at] + struct.pack("<II", *sides) + data[at + 8 :]


def _bomb(rng: np.random.Generator, data: bytes) -> bytes:
    names = list(seeds.bombs())
    return seeds.bombs()[names[rng.integers(len(names))]]


def _container(rng: np.random.Generator, data: bytes) -> Any:
    """Other types of data: those of rclpy and rosbags, and wrong ones."""
    wide = data[: len(data) // 8 * 8]
    return (
        array.array("B", data), np.frombuffer(data, np.uint8), memoryview(data), bytearray(data),
        array.array("d", wide), np.frombuffer(wide, np.float64), array.array("b", data),
        np.frombuffer(data, np.uint8)[::-1], np.frombuffer(wide, np.uint8).reshape(-1, 8)[:, ::2],
        list(data[:500]), data.decode("latin-1"), np.zeros((0, 4), np.uint8), 10**7,
    )[rng.integers(13)]  # fmt: skip


_DATA_MUTATIONS: dict[str, Callable[[np.random.Generator, bytes], Any]] = {
    "flip": _flip,
    "word": _word,
    "cut": lambda rng, data: data[: _where(rng, data)],
    "drop": lambda rng, data: data[_where(rng, data) :],
    "extend": lambda rng, data: data + rng.bytes(int(rng.integers(1, 2000))),
    "zero": lambda rng, data: data[: (at := _where(rng, data))] + bytes(16) + data[at + 16 :],
    "insert": _insert,
    "splice": _splice,
    "lie": _lie,
    "lie again": _lie,
    "bomb": _bomb,
    "container": _container,
}


def _paths(thing: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = vars(thing).items() if isinstance(thing, Namespace) else enumerate(thing[:50])
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (Namespace, list)):
            yield from _paths(value, (*path, key))


def _setter(path: tuple[Any, ...], value: Any) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        for key in path[:-1]:
            try:
                message = message[key] if isinstance(key, int) else getattr(message, key)
            except (AttributeError, LookupError, TypeError):
                return  # an earlier mutation has replaced it
        if isinstance(message, list) and isinstance(path[-1], int) and path[-1] < len(message):
            message[path[-1]] = copy.deepcopy(value)
        elif isinstance(message, Namespace):
            setattr(message, str(path[-1]), copy.deepcopy(value))

    return change
