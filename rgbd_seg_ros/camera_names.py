# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera names: which camera a topic or a frame_id names, and what its image shows."""

from __future__ import annotations

import itertools
import re

COLOR = frozenset({"color", "colour", "rgb", "bgr", "rgba", "bgra"})
GRAY = frozenset({"gray", "grey", "mono"})
DEPTH = frozenset({"depth", "tof"})
#: Infrared images and other measurements of a depth sensor that are not distances in meters.
INFRARED = frozenset(
    {"ir", "nir", "infra", "infrared", "amplitude", "intensity", "reflectivity", "confidence"}
) | {"disparity"}
THERMAL = frozenset({"thermal", "lwir", "lepton", "boson"})
#: Images that a program computed. A word that starts with one of the stems counts as well.
_DERIVED = frozenset({"truth", "gt", "groundtruth", "heatmap", "debug", "dbg", "features"})
_DERIVED_STEMS = (
    "mask", "overlay", "label", "semantic", "segment", "panoptic", "instance", "annotat", "detect",
    "track", "keypoint",
)  # fmt: skip
#: Words for an image of depth that is painted with colors.
PAINTED = frozenset({"colormap", "colormapped", "colorized", "colorised", "colored", "coloured"})
ALIGNED = frozenset({"aligned", "align", "registered"})

# Words that say how an image is processed or transported, not which camera it is from.
_PLUMBING = frozenset({
    "image", "images", "img", "raw", "rect", "rectified", "frame", "frames", "optical", "link",
    "data", "node", "sensor", "stream", "topic", "map", "to", "hw", "sw", "hd", "qhd", "sd",
    "video", "view", "preview", "viz", "vis", "sample", "stereo", "points",
})  # fmt: skip
_NOT_A_CAMERA = COLOR | GRAY | DEPTH | INFRARED | PAINTED | ALIGNED | _PLUMBING
#: Words that tell the cameras of one robot apart, like numbers.
_PLACES = frozenset({
    "front", "rear", "back", "forward", "backward", "left", "right", "port", "starboard", "side",
    "top", "bottom", "upper", "lower", "head", "chest", "torso", "mast", "base", "arm", "wrist",
    "hand", "gripper",
})  # fmt: skip


def words(name: str) -> tuple[str, ...]:
    """The lower-case words and numbers of a name: ``/cam1/imageRaw`` → cam, 1, image, raw."""
    return tuple(w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name))


def camera_words(name: str) -> frozenset[str]:
    """The words of a topic or frame_id that say which camera it is from."""
    return frozenset(words(name)) - _NOT_A_CAMERA


def name_two_cameras(a: str, b: str) -> bool:
    """Whether two topics or two frame_ids name two different cameras.

    They do if each of them has a word or number that the other lacks, such as ``front_color`` and
    ``rear_color``, apart from words for the sensor and the processing: ``cam_color_optical_frame``
    and ``cam_depth_optical_frame`` name one camera. ``oak_rgb`` and ``oak_right`` do as well.
    """
    first, second = camera_words(a), camera_words(b)
    return not (first <= second or second <= first)


def name_two_places(a: str, b: str) -> bool:
    """Whether two names differ in the place or the number of the camera."""
    places = [{w for w in camera_words(n) if w in _PLACES or w.isdigit()} for n in (a, b)]
    return name_two_cameras(a, b) and places[0] != places[1]


def same_frame(a: str, b: str) -> bool:
    """Whether two frame_ids are the same one and say something; empty and ``0`` do not.

    A leading slash, as tf of ROS 1 wrote it, does not count.
    """
    return a.lstrip("/") == b.lstrip("/") and a.lstrip("/") not in ("", "0")


def is_derived(topic: str) -> bool:
    """Whether a topic's name says that a program computed the image: masks, overlays, labels."""
    return any(w in _DERIVED or w.startswith(_DERIVED_STEMS) for w in words(topic))


def registered_to(topic: str) -> frozenset[str]:
    """Words of the camera whose view an image was warped to: ``depth_to_rgb`` → rgb."""
    targets = (s.partition("_to_")[2] for s in topic.lower().split("/"))
    return frozenset(w for target in targets for w in words(target))


def content(topic: str) -> frozenset[str]:
    """What a topic's name says its image shows: words of the sets of this module.

    In ``X_to_Y``, only X counts, because Y is the view that the image was warped to. A segment of
    the name with a word of its own, such as ``depth_camera``, names a camera and does not count.
    """
    found: set[str] = set()
    for segment in topic.split("/"):
        parts = words(segment.partition("_to_")[0])
        if all(w in _NOT_A_CAMERA or w.isdigit() for w in parts):
            found.update(parts, map("".join, itertools.pairwise(parts)))
    return frozenset(found) & (COLOR | GRAY | DEPTH | PAINTED)
