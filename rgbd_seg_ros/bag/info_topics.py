# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Finds the camera_info topic of an image topic, and checks one that the user has given."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from rgbd_seg_ros.bag.image_topics import ImageTopic, base_topic
from rgbd_seg_ros.bag.reader import BagReader

#: Map from field of ``Topics`` to the field of its camera_info.
INFO_FIELDS = {name: f"{name}_info" for name in ("rgb", "depth", "depth_raw")}


def info_for(topic: str, infos: Collection[str]) -> str | None:
    """The camera_info topic of an image topic, by the naming conventions of the drivers.

    Args:
        topic: of the images.
        infos: all camera_info topics.
    """
    base = base_topic(topic)
    parent = base.rsplit("/", 1)[0]
    grandparent = parent.rsplit("/", 1)[0]
    names = [
        f"{parent}/camera_info",
        f"{base}/camera_info",
        f"{grandparent}/info/camera_info",  # RealSense SDK: …/Color_0/image/data
    ]
    if parent.endswith(("/hw_registered", "/sw_registered")):  # OpenNI
        names.append(f"{grandparent}/camera_info")
    return next((name for name in names if name in infos), None)


def wrong_infos(
    reader: BagReader,
    images: Sequence[ImageTopic],
    chosen: Mapping[str, str | None],
    infos: Collection[str],
) -> Iterator[str]:
    """Yield a line for each given camera_info that is not that of its images.

    Args:
        reader: an open bag.
        images: all image topics.
        chosen: map from field of ``Topics`` to topic; camera_infos only if the user gave them.
        infos: all camera_info topics.
    """
    by_name = {image.topic: image for image in images}
    for name, field in INFO_FIELDS.items():
        given, image = chosen.get(field), by_name.get(chosen.get(name) or "")
        if given is None or image is None or image.size is None:
            continue
        option, message = f"--{field.replace('_', '-')}-topic", reader.first(given)
        if message is None:
            continue
        size = int(message.height), int(message.width)
        if size == image.size:
            continue
        right = info_for(image.topic, infos)
        remedy = f"pass {right}, or omit the option" if right else "omit the option"
        yield (
            f"{option} {given} is for {size[1]}×{size[0]} images, but those of {image.topic} have "
            f"{image.size[1]}×{image.size[0]}: {remedy}"
        )
