# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag are color, depth, raw depth and their camera_infos."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rgbd_seg_ros.bag.reader import BagError, BagReader, Topic
from rgbd_seg_ros.frames import Stream
from rgbd_seg_ros.images import COLOR_ENCODINGS, DEPTH_ENCODINGS

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
PICTURES = (IMAGE, COMPRESSED)
#: Types that a topic given by the user must have, where they are not those of a picture.
FITTING = {"truth": (IMAGE,)}
#: Given for a topic: use none.
NONE = "none"

#: Parts of names. What is made from pictures is no camera; nor are the infrared ones of a stereo.
_DERIVED = ("mask", "overlay", "label", "semantic", "segment", "truth", "confidence", "theora")
_INFRARED = ("infra", "/ir/", "/ir_", "_ir/")
_COLOR = ("color", "colour", "rgb")
_REGISTERED = ("aligned", "registered", "to_color", "to_rgb")


@dataclass(frozen=True)
class Topics:
    """The topics a replay reads; None for what there is not."""

    rgb: str | None = None
    depth: str | None = None
    depth_raw: str | None = None
    rgb_info: str | None = None
    depth_info: str | None = None
    depth_raw_info: str | None = None
    #: Masks of true class ids, never guessed.
    truth: str | None = None

    @property
    def streams(self) -> dict[str, Stream]:
        """Topic to the stream it feeds."""
        pairs: tuple[tuple[str | None, Stream], ...] = (
            (self.rgb, "rgb"),
            (self.depth, "depth"),
            (self.depth_raw, "depth_raw"),
        )
        return {topic: stream for topic, stream in pairs if topic}

    @property
    def infos(self) -> dict[str, tuple[Stream, ...]]:
        """camera_info topic to the streams it describes; two of them may share one."""
        pairs: tuple[tuple[str | None, Stream], ...] = (
            (self.rgb_info, "rgb"),
            (self.depth_info, "depth"),
            (self.depth_raw_info, "depth_raw"),
        )
        found: dict[str, tuple[Stream, ...]] = {}
        for topic, stream in pairs:
            if topic:
                found[topic] = (*found.get(topic, ()), stream)
        return found

    @property
    def all(self) -> list[str]:
        """Every topic to read."""
        return [*self.streams, *self.infos, *([self.truth] if self.truth else [])]


@dataclass(frozen=True)
class _Picture:
    """What the first message of an image topic tells."""

    topic: str
    compressed: bool
    #: ``color``, ``depth`` or ``mono``; empty for what cannot be used.
    kind: str
    frame_id: str


def choose_topics(reader: BagReader, wanted: Mapping[str, str | None]) -> Topics:
    """The topics to replay: those the user gave, and for the rest the only sensible candidate.

    A topic's first message says whether it is color or depth; its name decides among several.

    Args:
        reader: an open bag.
        wanted: fields of :class:`Topics` to topics the user gave; None to find it, ``none`` to
            do without.

    Raises:
        BagError: a topic that is not there or of another type, several candidates, or neither
            color nor depth.
    """
    topics = reader.topics
    given = {field: topic for field, topic in wanted.items() if topic}
    for field, topic in given.items():
        if topic != NONE:
            _check(topic, field, topics)
    chosen = {field: None if topic == NONE else topic for field, topic in given.items()}

    pictures = [p for t in topics if (p := _look(reader, t))]
    if "rgb" not in chosen:
        free = [p for p in pictures if p.topic not in chosen.values()]
        chosen["rgb"] = _find("rgb", _color_ranks(free))
    if "depth" not in chosen or "depth_raw" not in chosen:
        _choose_depth(chosen, pictures, _frame_id(reader, chosen["rgb"]))
    if not chosen.get("rgb") and not chosen.get("depth") and not chosen.get("depth_raw"):
        raise BagError(
            f"{reader.path} has no color or depth topic that can be used; its topics: "
            f"{_list(f'{t.name} ({t.type}, {t.count})' for t in topics)}"
        )
    found = Topics(**chosen)
    infos = {t.name for t in topics if t.type == CAMERA_INFO and t.count}
    for field in ("rgb", "depth", "depth_raw"):
        topic = getattr(found, field)
        if topic and f"{field}_info" not in chosen:
            found = replace(found, **{f"{field}_info": _info_for(topic, infos)})
    return found


def _check(topic: str, field: str, topics: list[Topic]) -> None:
    option = f"--{field.replace('_', '-')}-topic"
    types = [t for t in topics if t.name == topic]
    fitting = FITTING.get(field, (CAMERA_INFO,) if field.endswith("_info") else PICTURES)
    if not types:
        names = [t.name for t in topics if t.type in fitting]
        near = difflib.get_close_matches(topic, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {_list(names) or 'none'}"
        raise BagError(f"{option} {topic} is not in the bag; {hint}")
    if not any(t.type in fitting for t in types):
        raise BagError(f"{option} {topic} is {types[0].type}, it must be {' or '.join(fitting)}")
    if not any(t.count for t in types):
        raise BagError(f"{option} {topic} holds no messages")


def _look(reader: BagReader, topic: Topic) -> _Picture | None:
    if topic.type not in PICTURES or not topic.count:
        return None
    name = topic.name.lower()
    if any(part in name for part in (*_DERIVED, *_INFRARED)):
        return None
    message = reader.first(topic.name)
    if message is None:
        return None
    compressed = topic.type == COMPRESSED
    kind = _compressed_kind(message) if compressed else _raw_kind(str(message.encoding))
    return _Picture(topic.name, compressed, kind, str(message.header.frame_id)) if kind else None


def _raw_kind(encoding: str) -> str:
    if encoding in DEPTH_ENCODINGS:
        return "depth"
    if encoding not in COLOR_ENCODINGS:
        return ""
    return "mono" if encoding in ("mono8", "8UC1") else "color"


def _compressed_kind(message: Any) -> str:
    text = str(message.format)
    if "compresseddepth" in text.lower() or text.startswith(("16UC1", "32FC1", "mono16")):
        return "depth"
    return "mono" if text.startswith(("mono8", "8UC1")) else "color"


def _color_ranks(pictures: list[_Picture]) -> list[tuple[tuple[int, ...], str]]:
    return [
        ((p.kind == "mono", not _has(p.topic, _COLOR), p.compressed), p.topic)
        for p in pictures
        if p.kind in ("color", "mono")
    ]


def _choose_depth(
    chosen: dict[str, str | None], pictures: list[_Picture], color_frame: str
) -> None:
    """Fill in ``depth`` and ``depth_raw``: registered first, the other as the third input."""
    taken = {topic for topic in chosen.values() if topic}
    depths = [p for p in pictures if p.kind == "depth" and p.topic not in taken]

    def registered(picture: _Picture) -> bool:
        same = picture.frame_id == color_frame and color_frame not in ("", "0")
        return same or _has(picture.topic, _REGISTERED)

    def ranks(accept: Callable[[_Picture], bool]) -> list[tuple[tuple[int, ...], str]]:
        return [((p.compressed,), p.topic) for p in depths if accept(p)]

    if "depth" not in chosen:
        good = ranks(registered)
        chosen["depth"] = _find("depth", good or ranks(lambda _: True))
    if "depth_raw" not in chosen:
        raw = ranks(lambda p: not registered(p) and p.topic != chosen["depth"])
        # The same camera in another transport is no third input, and none is no loss.
        lowest = min((rank for rank, _ in raw), default=None)
        best = [topic for rank, topic in raw if rank == lowest]
        one_is_registered = any(registered(p) for p in pictures if p.topic == chosen["depth"])
        chosen["depth_raw"] = best[0] if len(best) == 1 and one_is_registered else None


def _find(field: str, ranked: list[tuple[tuple[int, ...], str]]) -> str | None:
    if not ranked:
        return None
    lowest = min(rank for rank, _ in ranked)
    best = [topic for rank, topic in ranked if rank == lowest]
    if len(best) > 1:
        raise BagError(
            f"several topics may be {field}: {_list(best)}; choose with --{field}-topic"
        )
    return best[0]


def _info_for(topic: str, infos: set[str]) -> str | None:
    """The camera_info that goes with an image topic, by the naming habits of the drivers."""
    base = topic
    for transport in ("/compressedDepth", "/compressed"):
        base = base.removesuffix(transport)
    parent = base.rsplit("/", 1)[0]
    grandparent = parent.rsplit("/", 1)[0]
    for name in (
        f"{parent}/camera_info",
        f"{base}/camera_info",
        f"{grandparent}/info/camera_info",  # RealSense SDK: …/Color_0/image/data
    ):
        if name in infos:
            return name
    return None


def _frame_id(reader: BagReader, topic: str | None) -> str:
    message = reader.first(topic) if topic else None
    return str(message.header.frame_id) if message is not None else ""


def _has(topic: str, parts: Iterable[str]) -> bool:
    return any(part in topic.lower() for part in parts)


def _list(names: Iterable[str], most: int = 12) -> str:
    shown = list(names)
    more = f", and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
