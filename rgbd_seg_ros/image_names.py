# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Names of image files: what they show, and which files of two streams form a pair."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

#: What an image file contains.
Kind = Literal["rgb", "depth", "labels"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Largest difference of two stamps that form a pair, as in the tools of the TUM RGB-D benchmark.
MAX_STAMP_DIFFERENCE_NS = 20_000_000

#: Words in the names of files and folders that say what an image shows; also in the plural.
KIND_WORDS: dict[Kind, tuple[str, ...]] = {
    "rgb": ("rgb", "color", "colour", "leftimg8bit"),
    "depth": ("depth",),
    "labels": (
        "label", "labelid", "labeltrainid", "seg", "segmentation", "semantic", "gt", "gtfine",
        "gtcoarse", "mask", "annotation", "ann",
    ),
}  # fmt: skip
#: Words that say so only if no other word does: ``depth_image_7`` is depth.
COLOR_WORDS = ("image", "img", "photo")
#: Words that may differ between the files of a frame that are paired by number, in ``d0012`` and
#: ``frame_12``.
PLAIN_WORDS = frozenset({
    "r", "c", "d", "l", "frame", "frames", "file", "scan", "left", "raw", "aligned", "registered",
    "range", "distance", "z", "map", "cam", "camera", "kinect", "sensor", "to", "vis",
})  # fmt: skip

_WORDS = [word for known in KIND_WORDS.values() for word in known] + list(COLOR_WORDS)
# ``RGB-D`` and ``rgb_d`` say that there is both.
_WORD = re.compile(
    r"(?<![a-z])(?:aligned_depth_to_colou?r"
    rf"|(?!rgb[-_ ]d(?![a-z]))({'|'.join(_WORDS)})s?)(?![a-z])",
    re.IGNORECASE,
)
#: Names of folders and files that show depth in colors.
PAINTED = re.compile(
    r"(?<![a-z])(?:colou?red|colou?ri[sz]ed|colou?rs?|colou?rmap|vis|viz|visual|preview|jet|turbo)"
    r"(?![a-z])",
    re.IGNORECASE,
)
#: Names of label images that do not hold the class of each pixel, beside some that do.
_NO_CLASSES = re.compile(
    r"(?<![a-z])(?:instance(?:id)?s?|panoptic|polygons?|colou?rs?|vis|viz|preview)(?![a-z])",
    re.IGNORECASE,
)
_TRAIN_IDS = re.compile("label_?trainids?", re.IGNORECASE)
#: Seconds with a fraction, or an integer of milliseconds, microseconds or nanoseconds since 1970.
_SECONDS = re.compile(r"(\d{9,10})\.(\d{1,9})")
_TICKS_NS = {13: 1_000_000, 16: 1_000, 19: 1}


@dataclass(frozen=True)
class Pairs:
    """The pairs of two lists of names."""

    #: Indices of the two names of each pair, in the order of the first list.
    pairs: tuple[tuple[int, int], ...]
    #: What pairs them, for messages: one of the ``BY_`` constants.
    rule: str


#: Rules of :func:`match_names`, in words that complete "paired by".
BY_NAME = "their names"
BY_SHORT_NAME = "their names without words such as rgb and depth"
BY_STAMP = "the nearest stamps, at most 20 ms apart"
BY_NUMBER = "the numbers in their names"
BY_COUNT = "being the only image of each kind"


def kind_of(stem: str) -> Kind | None:
    """What an image shows according to the words in its name; None if they do not say."""
    # The group is empty for ``aligned_depth_to_color``.
    words = [word.lower() for word in _WORD.findall(stem)]
    if "" in words:
        return "depth"
    found = {kind for kind, known in KIND_WORDS.items() for word in words if word in known}
    if len(found) == 1:
        return found.pop()
    return "rgb" if not found and words else None


def says_kind(stem: str) -> bool:
    """Whether a name has words that say what the image shows, even if they disagree."""
    return _WORD.search(stem) is not None


def not_classes(stems: Collection[str]) -> dict[str, str]:
    """Label images of the same folder that are not read, such as ``gtFine_color`` → the reason.

    Cityscapes has several label images for each color image. Those whose names say that they show
    instances or colors are not read, nor the others if there are ``labelTrainIds``.
    """
    other = {stem: "the name says that it does not hold class ids" for stem in stems
             if _NO_CLASSES.search(stem)}  # fmt: skip
    train_ids = [stem for stem in stems if stem not in other and _TRAIN_IDS.search(stem)]
    if train_ids:
        reason = "labelTrainIds are read instead; to choose, remove one kind"
        other |= {s: reason for s in stems if s not in other and s not in train_ids}
    return other if len(other) < len(stems) else {}


def without_kind(stem: str) -> str:
    """The name without the words that say what it shows: ``frame-7.color`` → ``frame-7``."""
    rest = re.sub(r"([-_. ])[-_. ]+", r"\1", _WORD.sub("", stem))
    return rest.strip("-_. ")


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key that orders the numbers in names by value: ``img_9`` before ``img_10``."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts]


def stamp_ns(stem: str) -> int | None:
    """The time that a name consists of, in nanoseconds since 1970; None if it is not a time."""
    text = without_kind(stem)
    if match := _SECONDS.fullmatch(text):
        return int(match[1]) * 1_000_000_000 + int(match[2].ljust(9, "0"))
    tick_ns = _TICKS_NS.get(len(text)) if text.isdecimal() else None
    return None if tick_ns is None else int(text) * tick_ns


def match_names(
    first: Sequence[str],
    second: Sequence[str],
    stamps_ns: tuple[Sequence[int | None], Sequence[int | None]] | None = None,
) -> Pairs:
    """Find the pairs of two lists of names by the rule that gives the most pairs.

    The rules are, and the first one wins a tie: the same name; the same name apart from words such
    as ``rgb`` and ``depth``; the nearest stamp within 20 ms; the same number, if all names differ
    only in their numbers and in words of :data:`PLAIN_WORDS`; both lists have only one name.

    Args:
        first, second: names of files without suffix, unique in each list.
        stamps_ns: the stamp of each name; None to read it from the names.
    """
    if stamps_ns is None:
        stamps_ns = [stamp_ns(name) for name in first], [stamp_ns(name) for name in second]
    by_stamp = _nearest(*stamps_ns)
    rules = [
        Pairs(_equal(first, second, str), BY_NAME),
        Pairs(_equal(first, second, _folded), BY_SHORT_NAME),
        Pairs(by_stamp, BY_STAMP),
        Pairs(_equal_numbers(first, second), BY_NUMBER),
        Pairs(((0, 0),) if len(first) == len(second) == 1 else (), BY_COUNT),
    ]
    return max(rules, key=lambda rule: len(rule.pairs))


def _folded(stem: str) -> str:
    return without_kind(stem).casefold()


def _equal(
    first: Sequence[str], second: Sequence[str], key: Callable[[str], object]
) -> tuple[tuple[int, int], ...]:
    """Pairs with the same key; none at all if a key is not unique in its list."""
    keys = [[key(name) for name in names] for names in (first, second)]
    if any(len(set(found)) < len(found) for found in keys):
        return ()
    where: Mapping[object, int] = {k: i for i, k in enumerate(keys[1])}
    return tuple((i, where[k]) for i, k in enumerate(keys[0]) if k in where)


def _equal_numbers(first: Sequence[str], second: Sequence[str]) -> tuple[tuple[int, int], ...]:
    # ``kitchen_1`` and ``office_1`` are different frames.
    if len({_without_numbers(name) for name in (*first, *second)}) > 1:
        return ()

    def numbers(name: str) -> object:
        return tuple(map(int, re.findall(r"\d+", name))) or name

    return _equal(first, second, numbers)


def _without_numbers(stem: str) -> tuple[str, ...]:
    """The words of a name, apart from numbers and from words that only say what it shows."""
    words = re.findall("[^\\W\\d_]+", _folded(stem))
    return tuple(word for word in words if word not in PLAIN_WORDS)


def _nearest(
    first: Sequence[int | None], second: Sequence[int | None]
) -> tuple[tuple[int, int], ...]:
    """Pairs of stamps that are each other's nearest; none if a name has no stamp."""
    if not (first and second) or None in first or None in second:
        return ()
    there, back = _nearest_of(first, second), _nearest_of(second, first)
    return tuple((i, j) for i, j in enumerate(there) if j is not None and back[j] == i)


def _nearest_of(stamps: Sequence[int | None], others: Sequence[int | None]) -> list[int | None]:
    """Index of the nearest other stamp, at most 20 ms away, for each stamp."""
    order = sorted((stamp, i) for i, stamp in enumerate(others) if stamp is not None)
    result = []
    for stamp in stamps:
        at = bisect_left(order, (stamp or 0, -1))
        distance_ns, index = min(
            (abs(t - (stamp or 0)), i) for t, i in order[max(at - 1, 0) : at + 1]
        )
        result.append(index if distance_ns <= MAX_STAMP_DIFFERENCE_NS else None)
    return result
