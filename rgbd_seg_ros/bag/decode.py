# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decodes the messages of recordings with the standard definitions of their types."""

from __future__ import annotations

from typing import Any

from rgbd_seg_ros.bag.storage import BagError, Channel, UnreadableBytesError
from rgbd_seg_ros.bag.unpack import MAX_UNPACKED, ZSTD_MAGIC, unpack_at_most

#: Types beside those of ROS itself, as https://github.com/ros-misc-utilities defines them.
EXTRA_TYPES = {
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": (
        "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n"
        "uint8 flags\nbool is_bigendian\nuint8[] data\n"
    )
}
ENCODINGS = ("cdr", "ros1")


class MessageDecoder:
    """Turns serialized messages into objects with the fields of their types.

    Code is generated from the definitions that come with rosbags, never from those in a file.
    Definitions in a file are only compared with them.

    Raises:
        BagError: rosbags is not installed.
    """

    def __init__(self) -> None:
        try:
            from rosbags.typesys import get_typestore
        except ImportError as error:
            raise BagError(
                f"reading bags needs rosbags ({error}); install it with: pip install rosbags"
            ) from error
        self._get_typestore = get_typestore
        self._stores: dict[str, Any] = {}
        self._problems: dict[tuple[str, str, str], str | None] = {}

    def problem(self, channel: Channel) -> str | None:
        """Why no message of a channel can be decoded; None if they can."""
        key = (channel.type, channel.encoding, channel.definition)
        if key not in self._problems:
            self._problems[key] = self._find_problem(channel)
        return self._problems[key]

    def __call__(self, channel: Channel, data: bytes) -> Any:
        """Decode one message; None if its bytes are not a message of its type."""
        if self.problem(channel):
            return None
        store = self._store(channel.encoding)
        try:
            if channel.encoding == "ros1":
                return store.deserialize_ros1(data, channel.type)
            # Bags whose messages were compressed one by one; CDR starts with a zero.
            if data[:4] == ZSTD_MAGIC:
                data = unpack_at_most(data, "zstd", MAX_UNPACKED)
            return store.deserialize_cdr(data, channel.type)
        except BagError:
            raise
        # SerdeError, struct.error, IndexError, … on bytes that are not a message.
        except (Exception, UnreadableBytesError):
            return None

    def _store(self, encoding: str) -> Any:
        if encoding not in self._stores:
            from rosbags.typesys import Stores, get_types_from_msg

            ros1 = encoding == "ros1"
            store = self._get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.LATEST)
            for name, definition in EXTRA_TYPES.items():
                store.register(get_types_from_msg(definition, name))
            self._stores[encoding] = store
        return self._stores[encoding]

    def _find_problem(self, channel: Channel) -> str | None:
        if channel.encoding not in ENCODINGS:
            return f"they are encoded as {channel.encoding or 'unknown'}, not as cdr or ros1"
        known = self._store(channel.encoding).fielddefs
        if channel.type not in known:
            return f"the type {channel.type or '(none)'} is not known"
        for name, fields in _parse(channel).items():
            if name not in known or _names_and_types(known[name]) != _names_and_types(fields):
                return f"the bag defines {name} otherwise than ROS does"
        return None


def _parse(channel: Channel) -> dict[str, Any]:
    """The fields of all types in a channel's definition; empty if it cannot be parsed."""
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    if not channel.definition:
        return {}
    try:
        if channel.definition_format == "ros2idl":
            return dict(get_types_from_idl(channel.definition))
        return dict(get_types_from_msg(channel.definition, channel.type))
    # Any exception of the parser: a definition that it does not understand proves nothing.
    except Exception:
        return {}


def _names_and_types(definition: Any) -> list[tuple[str, Any]]:
    _, fields = definition
    return [(str(name).lower(), kind) for name, kind in fields]
