# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Label sets: names, colors, refusals."""

from __future__ import annotations

import pytest

from rgbd_seg_ros.labels import LABEL_SETS, LabelSet, default_palette


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_label_set_has_distinct_colors(name: str) -> None:
    label_set = LABEL_SETS[name]
    assert len(set(label_set.palette)) == len(label_set) == len(label_set.palette)
    assert (0, 0, 0) not in label_set.palette, "black is for unlabeled pixels"


def test_default_palette_starts_like_pascal_voc() -> None:
    assert default_palette(3) == ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert len(set(default_palette(255))) == 255


@pytest.mark.parametrize("name", LABEL_SETS)
def test_a_set_named_after_its_size_has_it(name: str) -> None:
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyz")
    assert len(LABEL_SETS[name]) == int(digits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ()}, "0 classes"),
        ({"classes": ("a", "b", "a")}, "twice"),
        ({"classes": ("a",), "palette": ((0, 0, 0), (1, 1, 1))}, "got 2 colors"),
        ({"classes": ("a",), "palette": ((0, 0, 300),)}, "one RGB triple"),
        ({"classes": ("a",), "ignore_id": 0}, "ignore id must be 255"),
    ],
)
def test_bad_label_sets_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSet("mine", **arguments)
