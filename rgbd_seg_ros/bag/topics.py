# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Finds the color, aligned-depth and raw-depth topics of a bag, and their camera_info topics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rgbd_seg_ros.bag.camera_profiles import camera_profiles
from rgbd_seg_ros.bag.image_topics import (
    EIGHT_BITS,
    IMAGE,
    IMAGE_TYPES,
    ImageTopic,
    base_topic,
    describe_images,
    without_copies,
)
from rgbd_seg_ros.bag.info_topics import INFO_FIELDS, info_for, wrong_infos
from rgbd_seg_ros.bag.reader import BagError, BagReader, Topic
from rgbd_seg_ros.camera_names import (
    ALIGNED,
    COLOR,
    DEPTH,
    camera_words,
    content,
    name_two_cameras,
    name_two_places,
    registered_to,
    same_frame,
    words,
)
from rgbd_seg_ros.frames import Stream
from rgbd_seg_ros.names import did_you_mean

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
#: Value of a topic option for "use no topic".
NONE = "none"

#: Lower is better; compared element by element.
Rank = tuple[Any, ...]


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
    #: Warnings about topics that the user may expect to be used but that are not.
    notes: tuple[str, ...] = field(default=(), compare=False)
    #: Streams without a topic although the bag has one of them, which cannot be read.
    unread: tuple[Stream, ...] = field(default=(), compare=False)

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


def choose_topics(reader: BagReader, wanted: Mapping[str, str | None]) -> Topics:
    """The topics to replay: those given by the user, and the best candidates for the others.

    The first usable message of a topic shows whether it is color or depth. Names, frame_ids and
    the shipped camera profiles decide between several candidates. Depth is chosen from the camera
    of color only, so that the views of two cameras are never fused.

    Args:
        reader: an open bag.
        wanted: map from field of :class:`Topics` to the user's topic; None to choose one,
            ``none`` to use no topic.

    Raises:
        BagError: a given topic is missing or has the wrong type, topics of several cameras are
            equally good, or there is neither color nor depth.
    """
    topics = reader.topics
    given = {field: topic for field, topic in wanted.items() if topic}
    for name, topic in given.items():
        if topic != NONE:
            _check(topic, name, topics)
    chosen = {name: None if topic == NONE else topic for name, topic in given.items()}

    images = describe_images(reader)
    _Choice(images, chosen).fill()
    if not chosen.get("rgb") and not chosen.get("depth") and not chosen.get("depth_raw"):
        others = [f"{t.name} ({t.type}, {t.count})" for t in topics]
        seen = [f"{image.topic} ({_why_not(image, '')})" for image in images]
        found_instead = f"its topics: {_list(others)}"
        if seen:
            remedy = "to use one of them, pass --rgb-topic or --depth-topic"
            found_instead = f"its image topics: {_list(seen)}; {remedy}"
        raise BagError(f"{reader.path} has no usable color or depth topic; {found_instead}")
    infos = {t.name for t in topics if t.type == CAMERA_INFO and t.count}
    notes = (*_notes(images, chosen, given), *wrong_infos(reader, images, chosen, infos))
    found = Topics(**chosen, notes=notes, unread=_unread(images, _missing(chosen, given)))
    for name in INFO_FIELDS:
        topic = getattr(found, name)
        if topic and f"{name}_info" not in chosen:
            info: dict[str, Any] = {f"{name}_info": info_for(topic, infos)}
            found = replace(found, **info)
    return found


def _check(topic: str, name: str, topics: list[Topic]) -> None:
    option = _option(name)
    types = [t for t in topics if t.name == topic]
    if name.endswith("_info"):
        allowed: tuple[str, ...] = (CAMERA_INFO,)
    else:
        allowed = (IMAGE,) if name == "truth" else IMAGE_TYPES
    if not types:
        names = [t.name for t in topics if t.type in allowed]
        hint = did_you_mean(topic, names) or (
            f"; topics of this type: {_list(names)}" if names else "; omit it, since there is none"
        )
        raise BagError(f"{option} {topic} is not in the bag{hint}")
    if not any(t.type in allowed for t in types):
        fitting = _list(t.name for t in topics if t.type in allowed)
        remedy = f"topics of this type: {fitting}" if fitting else "omit it, since there is none"
        text = f"{option} {topic} is {types[0].type}; it must be {' or '.join(allowed)}"
        raise BagError(f"{text}; {remedy}")
    if not any(t.count for t in types):
        raise BagError(f"{option} {topic} has no messages")


class _Choice:
    """Fills in the topics that the user has not given.

    Args:
        images: all image topics of the bag.
        chosen: map from field of ``Topics`` to topic, None for no topic; completed in place.
    """

    def __init__(self, images: Sequence[ImageTopic], chosen: dict[str, str | None]) -> None:
        self._chosen = chosen
        self._by_name = {image.topic: image for image in images}
        taken = {base_topic(topic) for topic in chosen.values() if topic}
        free = [image for image in without_copies(images) if image.base not in taken]
        self._colors = [image for image in free if image.kind != "depth"]
        self._depths = [image for image in free if image.kind == "depth"]
        self._pairs = _profiled_pairs(free)

    def fill(self) -> None:
        """Choose color first, then depth from its camera, then raw depth."""
        chosen = self._chosen
        if "rgb" not in chosen:
            chosen["rgb"] = self._best("rgb", self._colors, self._color_rank)
        color = self._given("rgb")
        depths = [d for d in self._depths if color is None or self._apart(color, d) < _OTHER]
        if "depth" not in chosen:
            chosen["depth"] = self._best("depth", depths, lambda d: self._depth_rank(color, d))
        if "depth_raw" in chosen:
            return
        # Without aligned depth, a second topic is the same depth in another form. Raw depth is
        # optional, so several cameras are not an error.
        depth = self._given("depth")
        chosen["depth_raw"] = None
        if depth is not None and _is_aligned(color, depth):
            raw = [
                d
                for d in self._depths
                if _distance(depth, d) < _OTHER and not _is_aligned(color, d)
            ]
            best = _lowest(raw, lambda d: self._depth_rank(color, d))
            if best and not any(_distance(best[0], other) == _OTHER for other in best[1:]):
                chosen["depth_raw"] = min(best, key=lambda d: self._form_rank(d, color)).topic

    def _apart(self, color: ImageTopic, depth: ImageTopic) -> int:
        return 0 if (color.base, depth.base) in self._pairs else _distance(color, depth)

    def _profiled(self, image: ImageTopic) -> bool:
        return any(image.base in pair for pair in self._pairs)

    def _given(self, name: str) -> ImageTopic | None:
        return self._by_name.get(self._chosen.get(name) or "")

    def _best(
        self,
        name: str,
        images: Sequence[ImageTopic],
        rank: Callable[[ImageTopic], Rank],
    ) -> str | None:
        """The best topic; images of one camera in several forms are no question for the user."""
        best = _lowest(images, rank)
        if not best:
            return None
        if any(_distance(best[0], other) == _OTHER for other in best[1:]):
            raise BagError(
                f"several topics may be {name}: {_list(map(str, best))}; choose one with "
                f"{_option(name)}"
            )
        partner = self._given("rgb") if name != "rgb" else None
        return min(
            best, key=lambda i: (i.is_sparse(best, _HARDLY_ANY), *self._form_rank(i, partner))
        ).topic

    def _color_rank(self, color: ImageTopic) -> Rank:
        given = self._given("depth") or self._given("depth_raw")
        depths = self._depths if given is None else [given]
        return (
            color.kind == "gray",
            min((self._apart(color, depth) for depth in depths), default=0),
            not any(same_frame(color.frame_id, depth.frame_id) for depth in depths),
            not self._profiled(color),
            not COLOR & set(words(color.base)),
        )

    def _depth_rank(self, color: ImageTopic | None, depth: ImageTopic) -> Rank:
        return (
            not _is_aligned(color, depth),
            0 if color is None else self._apart(color, depth),
            not self._profiled(depth),
        )

    def _form_rank(self, image: ImageTopic, partner: ImageTopic | None) -> Rank:
        """Rank among the images of one camera: its own view, rectified like its partner."""
        partners = [partner] if partner else [d for d in self._depths if _distance(d, image) == 0]
        rectified = [_is_rectified(p) for p in partners]
        unlike = bool(rectified) and _is_rectified(image) not in rectified
        folders = image.base.split("/")[1:-1]
        return (
            not self._profiled(image),
            # A color image that was warped to the view of depth has holes.
            image.kind != "depth" and bool(registered_to(image.base)),
            "preview" in words(image.base),
            # The ZED wrapper's depth belongs to its rectified images; the others are in rgb_raw.
            image.kind != "depth" and any("raw" in words(folder) for folder in folders),
            unlike,
            # Kinect v2: its three sizes show the same; qhd fits the resolution of depth.
            [size in words(image.base) for size in ("qhd", "hd", "sd")].index(True)
            if {"qhd", "hd", "sd"} & set(words(image.base))
            else 0,
            image.transport,
            image.base.count("/"),
            not image.base.endswith("raw"),
            image.topic,
        )


def _profiled_pairs(images: Sequence[ImageTopic]) -> set[tuple[str, str]]:
    """Pairs of color and depth that a shipped camera profile names."""
    bases = {image.base for image in images if image.kind == "depth"}
    return {
        (image.base, prefix + depth)
        for profile in camera_profiles()
        for image in images
        if (prefix := profile.prefix_of(image.base, "rgb")) is not None
        for depth in (profile.depth, profile.depth_raw)
        if prefix + depth in bases
    }


#: A form of an image that has less than this share of the frames of another one is not chosen.
_HARDLY_ANY = 0.1
#: Distance of two topics of different cameras.
_OTHER = 2


def _distance(a: ImageTopic, b: ImageTopic) -> int:
    """0 if two topics name the same camera, 1 if one is more specific, 2 if they name two."""
    if a.base.rpartition("/")[0] == b.base.rpartition("/")[0]:
        other = name_two_places(a.base, b.base)
    else:
        other = name_two_cameras(a.base, b.base)
    if other and (name_two_places(a.base, b.base) or not same_frame(a.frame_id, b.frame_id)):
        return _OTHER
    return int(camera_words(a.base) != camera_words(b.base))


def _is_aligned(color: ImageTopic | None, depth: ImageTopic) -> bool:
    """Whether depth seems to be aligned to color; its camera_info decides when it is fused."""
    target = registered_to(depth.base)
    if color is not None and same_frame(color.frame_id, depth.frame_id):
        return True
    if target:
        return bool(target & COLOR)
    return bool(ALIGNED & set(words(depth.base)))


def _is_rectified(image: ImageTopic) -> bool:
    return bool({"rect", "rectified"} & set(words(image.base)))


def _lowest(images: Iterable[ImageTopic], rank: Callable[[ImageTopic], Rank]) -> list[ImageTopic]:
    """The images that share the lowest rank."""
    ranked = [(rank(image), image) for image in images]
    lowest = min((r for r, _ in ranked), default=None)
    return [image for r, image in ranked if r == lowest]


def _notes(
    images: Sequence[ImageTopic], chosen: Mapping[str, str | None], given: Mapping[str, str]
) -> Iterable[str]:
    """Warnings about streams without a topic, and about topics that cannot be read."""
    missing = _missing(chosen, given)
    for name in missing:
        label = "color" if name == "rgb" else "depth"
        used = {topic for topic in chosen.values() if topic}
        others = [image for image in images if image.topic not in used]
        why = [f"{image.topic} ({_why_not(image, name)})" for image in others]
        text = _list(why) or "the bag has no other image topic"
        if not all(i.unreadable or i.no_camera == EIGHT_BITS for i in others):
            text += f"; to use one of them, pass {_option(name)}"
        yield f"no {label} topic was found: {text}"
    if not missing:
        bases = {base_topic(topic) for topic in chosen.values() if topic}
        for image in images:
            # Nobody misses a copy of a chosen image.
            if image.unreadable and image.base not in bases and not image.no_camera:
                yield f"topic {image.topic} is not used: {image.unreadable}"
    for one in images:
        if one.topic in chosen.values() and one.topic not in given.values():
            for copy in images:
                # Otherwise, it would have been chosen.
                if copy.usable and copy.base == one.base and copy.transport < one.transport:
                    yield (
                        f"topic {one.topic} with {one.count} messages is used instead of "
                        f"{copy.topic}, which has only {copy.count}"
                    )


def _missing(chosen: Mapping[str, str | None], given: Mapping[str, str]) -> list[Stream]:
    """The streams without a topic that the user may miss."""
    streams: tuple[Stream, ...] = ("rgb", "depth")
    return [name for name in streams if chosen.get(name) is None and given.get(name) != NONE]


def _unread(images: Sequence[ImageTopic], missing: Sequence[Stream]) -> tuple[Stream, ...]:
    """The missing streams that the bag has by the names of its topics, but not readable ones."""

    def has(stream: Stream, image: ImageTopic) -> bool:
        if image.no_camera:
            return stream == "depth" and image.no_camera == EIGHT_BITS
        return bool(image.unreadable) and (stream == "depth") == bool(content(image.base) & DEPTH)

    return tuple(s for s in missing if any(has(s, image) for image in images))


def _why_not(image: ImageTopic, name: str) -> str:
    """Why an image topic was not chosen for a stream."""
    if image.unreadable or image.no_camera:
        return image.unreadable or image.no_camera
    if (image.kind == "depth") != (name == "depth"):
        return f"its encoding {image.encoding!r} is {image.kind}"
    return f"it seems to be from another camera; its frame_id is {image.frame_id!r}"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}-topic"


def _list(names: Iterable[str], most: int = 12) -> str:
    shown = list(names)
    more = f", and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
