# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Describes the image topics of a bag: what each one shows, or why it is no camera's image."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rgbd_seg_ros.bag.reader import BagReader, Topic
from rgbd_seg_ros.camera_names import (
    COLOR,
    DEPTH,
    GRAY,
    INFRARED,
    PAINTED,
    THERMAL,
    content,
    is_derived,
    words,
)
from rgbd_seg_ros.frames import Defect, Stream
from rgbd_seg_ros.images import (
    COLOR_ENCODINGS,
    DEPTH_ENCODINGS,
    compressed_kind,
    inspect,
    video_codec,
)
from rgbd_seg_ros.names import shown

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
FFMPEG = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
#: Types of image topics that can be read, in the order of preference.
IMAGE_TYPES = (IMAGE, COMPRESSED, FFMPEG)
#: Types that contain images but cannot be read, and the remedy.
UNREADABLE_TYPES = {
    "theora_image_transport/msg/Packet": "record the raw or compressed topic instead",
    "foxglove_msgs/msg/CompressedVideo": "record the raw or compressed topic instead",
    "foxglove_msgs/msg/CompressedImage": f"record {COMPRESSED} instead",
    "foxglove_msgs/msg/RawImage": f"record {IMAGE} instead",
    "stereo_msgs/msg/DisparityImage": "record depth instead",
}
#: Number of messages among which the first usable one describes its topic.
FIRST_MESSAGES = 10
#: A transport with at least this share of the frames of another one has nearly all of them.
NEARLY_ALL = 0.9
#: Endings that image_transport and its plugins append to the topic of the raw image.
_TRANSPORTS = ("compressedDepth", "compressed", "ffmpeg", "theora", "zstd", "foxglove", "draco")

Kind = Literal["color", "gray", "depth"]


#: Why a gray image of 8 bits is not used whose name says depth.
EIGHT_BITS = "its name says depth, but depth of 8 bits is not supported"


@dataclass(frozen=True)
class ImageTopic:
    """An image topic, described by its first usable message."""

    topic: str
    type: str
    count: int
    #: The topic of the raw image, which the driver may or may not have published.
    base: str
    kind: Kind | None = None
    encoding: str = ""
    #: (height, width) in pixels.
    size: tuple[int, int] | None = None
    frame_id: str = ""
    #: Rank of the transport: 0 raw, 1 compressed images, 2 video.
    transport: int = 0
    #: Why it cannot be read; empty if it can.
    unreadable: str = ""
    #: Why it is not an image of a color or depth camera, by its name; empty if it may be one.
    no_camera: str = ""

    @property
    def usable(self) -> bool:
        """Whether it may be chosen."""
        return self.kind is not None and not self.unreadable and not self.no_camera

    def is_sparse(self, copies: Iterable[ImageTopic], share: float = NEARLY_ALL) -> bool:
        """Whether it has less than a share of the messages of another one."""
        return self.count < share * max(copy.count for copy in copies)

    def __str__(self) -> str:
        """The topic with the facts that tell it from others."""
        kind = self.type.rpartition("/")[2]
        size = f" {self.size[1]}×{self.size[0]}" if self.size else ""
        frame = f", frame_id {self.frame_id!r}" if self.frame_id else ""
        return f"{self.topic} ({kind} {self.encoding}{size}{frame}, {self.count} messages)"


def describe_images(reader: BagReader) -> list[ImageTopic]:
    """All image topics of the bag that have messages, including those that cannot be used."""
    images = [_describe(reader, topic) for topic in reader.topics if _is_image(topic)]
    return [replace(image, no_camera=_no_camera(image, images)) for image in images]


def without_copies(images: Iterable[ImageTopic]) -> list[ImageTopic]:
    """The usable topics; of the transports of each image, the best one with nearly all frames."""
    copies: dict[tuple[str, str | None], list[ImageTopic]] = {}
    for image in images:
        if image.usable:
            copies.setdefault((image.base, image.kind), []).append(image)
    best = [
        min(found, key=lambda image: (image.is_sparse(found), image.transport, image.topic))
        for found in copies.values()
    ]
    return sorted(best, key=lambda image: image.topic)


def base_topic(topic: str) -> str:
    """The topic of the raw image, without the endings of image_transport."""
    parent, _, last = topic.rpartition("/")
    return parent if last in _TRANSPORTS and parent else topic


def _is_image(topic: Topic) -> bool:
    return topic.count > 0 and (topic.type in IMAGE_TYPES or topic.type in UNREADABLE_TYPES)


def _describe(reader: BagReader, topic: Topic) -> ImageTopic:
    image = ImageTopic(topic.name, topic.type, topic.count, base_topic(topic.name))
    if topic.type in UNREADABLE_TYPES:
        remedy = UNREADABLE_TYPES[topic.type]
        return replace(image, unreadable=f"its type {topic.type} is not supported; {remedy}")
    for item in itertools.islice(reader.messages([topic.name]), FIRST_MESSAGES):
        image = _describe_message(image, item.message)
        if not image.unreadable:
            break
    return image


def _describe_message(image: ImageTopic, message: Any) -> ImageTopic:
    if message is None:
        return replace(image, unreadable=f"its bytes are not messages of type {image.type}")
    text = message.format if image.type == COMPRESSED else message.encoding
    image = replace(image, encoding=str(text)[:80], frame_id=str(message.header.frame_id))
    if image.type != IMAGE and video_codec(text):
        # Only a decoder that has seen a key frame can tell more.
        return replace(image, kind="color", transport=2, unreadable="")
    if image.type == IMAGE:
        image = replace(image, kind=_raw_kind(image.base, str(text)))
    else:
        kind: Any = compressed_kind(message) if image.type == COMPRESSED else None
        image = replace(image, kind="gray" if kind == "mono" else kind, transport=1)
    stream: Stream = "depth" if image.kind == "depth" else "rgb"
    frame = inspect(message, stream)
    if image.kind is None and image.type == IMAGE:
        problem = f"its encoding {shown(text)} is unknown; record {_known(image.base)}"
        return replace(image, unreadable=problem)
    if isinstance(frame, Defect):
        return replace(image, unreadable=frame.detail)
    return replace(image, size=frame.size, unreadable="")


def _known(topic: str) -> str:
    """The encodings to record instead, of color or depth if the topic's name says which."""
    shows, depth = content(topic), ", ".join(DEPTH_ENCODINGS)
    if shows & DEPTH:
        return f"one of {depth}"
    return "rgb8 or bgr8" if shows & (COLOR | GRAY) else f"rgb8, bgr8 or, of depth, one of {depth}"


def _raw_kind(topic: str, encoding: str) -> Kind | None:
    if encoding in ("mono8", "8UC1"):
        return "gray"
    if encoding in DEPTH_ENCODINGS:
        # mono16 is depth in recordings of the RealSense SDK, and a gray image elsewhere.
        shows = content(topic)
        is_gray = encoding == "mono16" and shows & (COLOR | GRAY) and not shows & DEPTH
        return "gray" if is_gray else "depth"
    return "color" if encoding in COLOR_ENCODINGS else None


def _no_camera(image: ImageTopic, images: Sequence[ImageTopic]) -> str:
    """Why the topic's name says that it is no image of a color or depth camera."""
    named, shows = frozenset(words(image.base)), content(image.base)
    if is_derived(image.topic):
        return "its name says that a program computed it"
    if found := sorted(named & (INFRARED | THERMAL)):
        return f"its name says {found[0]}"
    if image.kind in ("color", "gray") and (shows & PAINTED or shows & DEPTH):
        if shows & DEPTH and not shows & PAINTED and image.kind == "gray":
            return EIGHT_BITS
        return "it seems to be an image of depth painted with colors"
    if image.kind == "depth" and shows & COLOR and not shows & DEPTH:
        return "its name says color, but its encoding is depth"
    if image.kind == "gray" and _other_side(image.base) in {other.base for other in images}:
        return "it is one of a stereo pair of gray images"
    return ""


def _other_side(topic: str) -> str:
    """The topic with left and right exchanged."""
    swapped = topic.replace("left", "\0").replace("right", "left").replace("\0", "right")
    return swapped if swapped != topic else ""
