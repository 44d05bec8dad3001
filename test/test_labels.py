# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Label sets: names, colors, rejected values, and adding a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rgbd_seg_ros.colorize import colorize, legend
from rgbd_seg_ros.labels import LABEL_SETS, LabelSet, default_palette


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_label_set_has_distinct_colors(name: str) -> None:
    label_set = LABEL_SETS[name]
    assert len(set(label_set.palette)) == len(label_set) == len(label_set.palette)
    assert (0, 0, 0) not in label_set.palette, "black is the color of unlabeled pixels"


def test_the_default_palette_is_that_of_pascal_voc() -> None:
    assert default_palette(3) == ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert len(set(default_palette(255))) == 255


@pytest.mark.parametrize("name", LABEL_SETS)
def test_a_set_has_its_name_and_the_size_in_it(name: str) -> None:
    assert LABEL_SETS[name].name == name
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyz")
    assert not digits or len(LABEL_SETS[name]) == int(digits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ()}, "0 classes"),
        ({"classes": ("a", "b", "a")}, "duplicate classes"),
        ({"classes": ("a",), "palette": ((0, 0, 0), (1, 1, 1))}, "got 2 colors"),
        ({"classes": ("a",), "palette": ((0, 0, 300),)}, "one RGB triple"),
        ({"classes": ("a",), "ignore_id": 0}, "ignore id must be 255"),
    ],
)
def test_bad_label_sets_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSet("mine", **arguments)


def test_one_entry_adds_a_label_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rgbd_seg_ros.bundle import NetworkRecord, load_network, save_network
    from rgbd_seg_ros.models import build, network_spec
    from rgbd_seg_ros.preprocess import Preprocess

    monkeypatch.setitem(LABEL_SETS, "toy", LabelSet("toy", ("floor", "rest")))
    labels = LABEL_SETS["toy"]
    spec = network_spec("segformer_b0", num_classes=len(labels), width=8)
    record = NetworkRecord(spec, Preprocess((32, 32)), labels)
    path = save_network(tmp_path / "rgb.safetensors", build(spec), record)
    assert load_network(path).record.labels == labels
    assert colorize(np.array([[1]]), labels)[0, 0].tolist() == list(labels.palette[1])
    assert legend(labels).shape[0] == 44
