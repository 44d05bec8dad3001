# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Finds the color, aligned-depth and raw-depth topics of a bag, and their camera_info topics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rgbd_seg_ros.bag.reader import BagError, BagReader, Topic
from rgbd_seg_ros.frames import Stream
from rgbd_seg_ros.images import COLOR_ENCODINGS, DEPTH_ENCODINGS
from rgbd_seg_ros.names import did_you_mean

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
IMAGE_TYPES = (IMAGE, COMPRESSED)
#: Value of a topic option for "use no topic".
NONE = "none"

# Parts of topic names. Derived images and infrared cameras are never chosen.
_DERIVED = ("mask", "overlay", "label", "semantic", "segment", "truth", "confidence", "theora")
_INFRARED = ("infra", "/ir/", "/ir_", "_ir/")
_COLOR = ("color", "colour", "rgb")
_ALIGNED = ("aligned", "registered", "to_color", "to_rgb")


@dataclass(frozen=True)
class Topics:
    """The topics that a replay reads; None if missing."""

    rgb: str | None = None
    depth: str | None = None
    depth_raw: str | None = None
    rgb_info: str | None = None
    depth_info: str | None = None
    depth_raw_info: str | None = None
    #: Ground truth: masks of class ids. Never chosen automatically.
    truth: str | None = None

    @property
    def streams(self) -> dict[str, Stream]:
        """Map from image topic to stream."""
        pairs: tuple[tuple[str | None, Stream], ...] = (
            (self.rgb, "rgb"),
            (self.depth, "depth"),
            (self.depth_raw, "depth_raw"),
        )
        return {topic: stream for topic, stream in pairs if topic}

    @property
    def infos(self) -> dict[str, tuple[Stream, ...]]:
        """Map from camera_info topic to the streams it describes; streams may share one."""
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
        """All topics to read."""
        return [*self.streams, *self.infos, *([self.truth] if self.truth else [])]


@dataclass(frozen=True)
class _ImageTopic:
    """An image topic, described by its first message."""

    topic: str
    compressed: bool
    #: ``color``, ``depth`` or ``mono``.
    kind: str
    frame_id: str


def choose_topics(reader: BagReader, wanted: Mapping[str, str | None]) -> Topics:
    """The topics to replay: those given by the user, and the best candidates for the others.

    The first message of a topic shows whether it is color or depth; its name decides between
    several candidates.

    Args:
        reader: an open bag.
        wanted: map from field of :class:`Topics` to the user's topic; None to choose one,
            ``none`` to use no topic.

    Raises:
        BagError: a given topic is missing or has the wrong type, several candidates are equally
            good, or there is neither color nor depth.
    """
    topics = reader.topics
    given = {field: topic for field, topic in wanted.items() if topic}
    for field, topic in given.items():
        if topic != NONE:
            _check(topic, field, topics)
    chosen = {field: None if topic == NONE else topic for field, topic in given.items()}

    images = [image for topic in topics if (image := _describe(reader, topic))]
    if "rgb" not in chosen:
        free = [image for image in images if image.topic not in chosen.values()]
        chosen["rgb"] = _best("rgb", _color_ranks(free))
    if "depth" not in chosen or "depth_raw" not in chosen:
        _choose_depth(chosen, images, _frame_id(reader, chosen["rgb"]))
    if not chosen.get("rgb") and not chosen.get("depth") and not chosen.get("depth_raw"):
        raise BagError(
            f"{reader.path} has no usable color or depth topic; its topics: "
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
    if field.endswith("_info"):
        allowed: tuple[str, ...] = (CAMERA_INFO,)
    else:
        allowed = (IMAGE,) if field == "truth" else IMAGE_TYPES
    if not types:
        names = [t.name for t in topics if t.type in allowed]
        hint = did_you_mean(topic, names) or f"; topics of this type: {_list(names) or 'none'}"
        raise BagError(f"{option} {topic} is not in the bag{hint}")
    if not any(t.type in allowed for t in types):
        raise BagError(f"{option} {topic} is {types[0].type}; it must be {' or '.join(allowed)}")
    if not any(t.count for t in types):
        raise BagError(f"{option} {topic} has no messages")


def _describe(reader: BagReader, topic: Topic) -> _ImageTopic | None:
    """Describe a topic from its first message; None if it is not a camera's color or depth."""
    if topic.type not in IMAGE_TYPES or not topic.count:
        return None
    name = topic.name.lower()
    if any(part in name for part in (*_DERIVED, *_INFRARED)):
        return None
    message = reader.first(topic.name)
    if message is None:
        return None
    compressed = topic.type == COMPRESSED
    kind = _compressed_kind(message) if compressed else _raw_kind(str(message.encoding))
    if not kind:
        return None
    return _ImageTopic(topic.name, compressed, kind, str(message.header.frame_id))


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


def _color_ranks(images: list[_ImageTopic]) -> list[tuple[tuple[int, ...], str]]:
    """(rank, topic) of each candidate for color; the lowest rank is the best."""
    return [
        ((image.kind == "mono", not _has(image.topic, _COLOR), image.compressed), image.topic)
        for image in images
        if image.kind in ("color", "mono")
    ]


def _choose_depth(
    chosen: dict[str, str | None], images: list[_ImageTopic], color_frame: str
) -> None:
    """Fill in ``depth``, preferably with aligned depth, and ``depth_raw``."""
    taken = {topic for topic in chosen.values() if topic}
    depths = [image for image in images if image.kind == "depth" and image.topic not in taken]

    def aligned(image: _ImageTopic) -> bool:
        same = image.frame_id == color_frame and color_frame not in ("", "0")
        return same or _has(image.topic, _ALIGNED)

    def ranks(accept: Callable[[_ImageTopic], bool]) -> list[tuple[tuple[int, ...], str]]:
        return [((image.compressed,), image.topic) for image in depths if accept(image)]

    if "depth" not in chosen:
        chosen["depth"] = _best("depth", ranks(aligned) or ranks(lambda _: True))
    if "depth_raw" not in chosen:
        raw = ranks(lambda image: not aligned(image) and image.topic != chosen["depth"])
        best = _lowest(raw)
        # Without aligned depth, a second topic has the same depth in another transport. Raw depth
        # is optional, so several candidates are not an error.
        has_aligned = any(aligned(image) for image in images if image.topic == chosen["depth"])
        chosen["depth_raw"] = best[0] if len(best) == 1 and has_aligned else None


def _best(field: str, ranked: list[tuple[tuple[int, ...], str]]) -> str | None:
    best = _lowest(ranked)
    if len(best) > 1:
        raise BagError(
            f"several topics may be {field}: {_list(best)}; choose one with --{field}-topic"
        )
    return best[0] if best else None


def _lowest(ranked: list[tuple[tuple[int, ...], str]]) -> list[str]:
    """The topics that share the lowest rank."""
    lowest = min((rank for rank, _ in ranked), default=None)
    return [topic for rank, topic in ranked if rank == lowest]


def _info_for(topic: str, infos: set[str]) -> str | None:
    """The camera_info topic of an image topic, by the naming conventions of the drivers."""
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
