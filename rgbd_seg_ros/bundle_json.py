# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Label set and preprocessing as stored in a bundle's JSON; every type and range is checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from rgbd_seg_ros.depth import DepthEncoding
from rgbd_seg_ros.labels import IGNORE_ID, LabelSet
from rgbd_seg_ros.names import shown, unknown_name
from rgbd_seg_ros.preprocess import Preprocess

#: Largest side of a network's input, in pixels; a larger one exhausts any GPU's memory.
MAX_INPUT_SIDE = 8192
#: Longest name of a class or label set, in characters.
MAX_NAME = 100


def labels_from_json(value: Any) -> LabelSet:
    """The label set that JSON describes.

    Raises:
        ValueError: an unknown key, or a value of the wrong type or out of range.
    """
    given = _object(value, "the label set", LabelSet)
    names, palette = given.get("classes"), given.get("palette", [])
    if not isinstance(names, list) or not isinstance(palette, list):
        raise ValueError("classes and palette must be lists")
    for name in (given.get("name"), *names):
        if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= MAX_NAME):
            raise ValueError(
                f"names must be 1 to {MAX_NAME} printable characters, got {shown(name)}"
            )
    colors: Any = tuple(_numbers(color, "a color", 3, int) for color in palette)
    return LabelSet(given["name"], tuple(names), colors, given.get("ignore_id", IGNORE_ID))


def preprocess_from_json(value: Any) -> Preprocess:
    """The preprocessing that JSON describes.

    Raises:
        ValueError: an unknown key, or a value of the wrong type or out of range.
    """
    given = dict(_object(value, "'preprocess'", Preprocess))
    depth = dict(_object(given.pop("depth", {}), "'depth'", DepthEncoding))
    for key in ("kind", "holes"):
        if not isinstance(depth.get(key, ""), str):
            raise ValueError(f"depth {key} must be text, got {shown(depth[key])}")
    for key in depth.keys() & {"mean", "std"}:
        several = isinstance(depth[key], list)
        numbers = _numbers(depth[key] if several else [depth[key]], f"depth {key}", None)
        depth[key] = numbers if several else numbers[0]
    if "clip_m" in depth:
        depth["clip_m"] = _numbers(depth["clip_m"], "depth clip_m", None)
    for key in given.keys() & {"rgb_mean", "rgb_std"}:
        given[key] = _numbers(given[key], key, 3)
    given["size"] = _numbers(given.get("size"), "size", 2, int)
    if max(given["size"]) > MAX_INPUT_SIDE:
        raise ValueError(f"size must be at most {MAX_INPUT_SIDE}, got {given['size']}")
    return Preprocess(**given, depth=DepthEncoding(**depth))


def _object(value: Any, what: str, cls: type) -> dict[str, Any]:
    """``value`` if it is an object whose keys are fields of ``cls``; else a ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is missing or not an object: {shown(value)}")
    known = [f.name for f in fields(cls)]
    for key in value:
        if key not in known:
            raise ValueError(unknown_name(f"key of {what}", key, known))
    return value


def _numbers(value: Any, what: str, count: int | None, kind: type = float) -> tuple[float, ...]:
    """The numbers of a JSON list; a ValueError unless it has ``count`` of them (None: any)."""
    kinds = (int,) if kind is int else (int, float)
    good = isinstance(value, list) and all(type(v) in kinds for v in value)
    if not good or count not in (None, len(value)):
        noun = "whole numbers" if kind is int else "numbers"
        raise ValueError(f"{what} must be {count or 'a list of'} {noun}, got {shown(value)}")
    return tuple(value)


def without_nan(value: Any) -> Any:
    """The value with null for NaN and infinite numbers, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: without_nan(v) for key, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
