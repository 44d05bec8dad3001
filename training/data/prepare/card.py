# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The data card of a prepared folder: frames, classes, depth, twelve pictures, defects."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.colorize import colorize_depth, overlay
from rgbd_seg_ros.depth import to_meters
from training.data.prepare.index import SPLITS, STREAMS, Index, Record, read_index, sha256
from training.runlog import table, tracked

SHEET = "card.png"
PICTURES = 12
#: Depth percentiles of the card.
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass
class CardStatistics:
    """Sums over the frames of one split."""

    frames: int = 0
    pixels: int = 0
    unlabeled: int = 0
    invalid_depth: int = 0
    #: Pixels of each class.
    classes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    #: Pixels of each depth tick: percentiles are exact.
    ticks: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(65536, np.int64))


def check(root: Path, sheet: Path | None = None) -> dict[str, Any]:
    """Read every file of a prepared folder and compare it with the index.

    Args:
        sheet: where twelve pictures go; default ``card.png`` in the folder.

    Returns:
        The card; ``problems`` lists what is missing, changed or wrong.

    Raises:
        UsageError: no index, or a defective one.
    """
    index = read_index(root)
    tallies = {split: CardStatistics() for split in SPLITS}
    problems: list[str] = []
    for record in tracked(index.records, len(index.records), "checking"):
        arrays = load(root, record, problems)
        if arrays:
            count(tallies[record.split], arrays, record, index, problems)
    names = {record.name for record in index.records}
    unlisted = [p for s in STREAMS for p in sorted((root / s).glob("*")) if p.stem not in names]
    if unlisted:
        problems.append(f"{len(unlisted)} files are not in the index, such as {unlisted[0]}")
    path = sheet or root / SHEET
    write_sheet(path, root, index)
    return to_card(index, tallies, problems) | {"pictures": str(path)}


def load(root: Path, record: Record, problems: list[str]) -> dict[str, npt.NDArray[Any]] | None:
    """The three pictures if they are those of the index."""
    arrays = {}
    for stream in STREAMS:
        path = root / stream / f"{record.name}.png"
        try:
            data = path.read_bytes()
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
            return None
        if sha256(data) != record.sha256[stream]:
            problems.append(f"{path}: changed since it was prepared (sha256)")
            return None
        arrays[stream] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return arrays


def count(
    tally: CardStatistics,
    arrays: dict[str, npt.NDArray[Any]],
    record: Record,
    index: Index,
    problems: list[str],
) -> None:
    """Add a frame to the sums."""
    labels, ticks = arrays["labels"], arrays["depth"]
    if labels.shape != record.size or ticks.shape != record.size:
        problems.append(f"{record.name}: {labels.shape} is not the index's {record.size}")
        return
    classes = np.bincount(labels.ravel(), minlength=256)
    wrong = np.flatnonzero(classes[len(index.label_set) : 255])
    if wrong.size:
        problems.append(
            f"{record.name}: class id {len(index.label_set) + int(wrong[0])}, "
            f"{index.label_set.name} has {len(index.label_set)} classes"
        )
    tally.frames += 1
    tally.pixels += labels.size
    tally.classes += classes
    tally.unlabeled += int(classes[255])
    tally.invalid_depth += int((ticks == 0).sum())
    tally.ticks += np.bincount(ticks.ravel(), minlength=65536)


def to_card(
    index: Index, tallies: dict[str, CardStatistics], problems: list[str]
) -> dict[str, Any]:
    """The card as plain JSON values."""
    train = tallies["train"]
    labeled = {s: max(1, t.pixels - t.unlabeled) for s, t in tallies.items()}
    shares = {
        name: {
            s: round(float(t.classes[i] / labeled[s]), 6) for s, t in tallies.items() if t.frames
        }
        for i, name in enumerate(index.label_set.classes)
    }
    everything = sum((t.ticks for t in tallies.values()), np.zeros(65536, np.int64))
    pixels = max(1, sum(t.pixels for t in tallies.values()))
    sizes = Counter(f"{h}x{w}" for h, w in (r.size for r in index.records))
    cameras = {r.intrinsics for r in index.records if r.intrinsics}
    return {
        "dataset": index.dataset,
        "label_set": index.label_set.name,
        "classes": len(index.label_set),
        "frames": {s: t.frames for s, t in tallies.items()},
        "groups": {s: len({r.group for r in index.records if r.split == s}) for s in SPLITS},
        "sizes": dict(sizes.most_common()),
        "cameras": len(cameras),
        "frames_with_intrinsics": sum(r.intrinsics is not None for r in index.records),
        "frames_with_gravity": sum(r.gravity is not None for r in index.records),
        "bytes": sum(sum(r.bytes.values()) for r in index.records),
        "class_share": shares,
        "unlabeled_share": round(sum(t.unlabeled for t in tallies.values()) / pixels, 6),
        "absent_in_train": [n for n, s in shares.items() if train.frames and not s["train"]],
        "depth_quantity": index.quantity,
        "depth_m": percentiles(everything, index.depth_scale),
        "invalid_depth_share": round(sum(t.invalid_depth for t in tallies.values()) / pixels, 6),
        "depth_train": moments(train.ticks, index.depth_scale),
        "problems": problems,
    }


def percentiles(ticks: npt.NDArray[np.int64], scale: float) -> dict[str, float]:
    """``{"p50": meters}`` of the valid depth; empty without any."""
    sums = np.cumsum(ticks[1:])
    if not sums[-1]:
        return {}
    positions = np.searchsorted(sums, np.ceil(np.array(PERCENTILES) / 100 * sums[-1]))
    return {
        f"p{p}": round(float((i + 1) * scale), 4)
        for p, i in zip(PERCENTILES, positions, strict=True)
    }


def moments(ticks: npt.NDArray[np.int64], scale: float) -> dict[str, float]:
    """Mean and deviation of depth (m) and of its inverse (1/m): what training normalizes with."""
    weights = ticks[1:].astype(np.float64)
    if not weights.sum():
        return {}
    depth = np.arange(1, 65536) * scale
    result = {}
    for name, values in (("zscore", depth), ("disparity", 1 / depth)):
        mean = float(np.average(values, weights=weights))
        variance = float(np.average((values - mean) ** 2, weights=weights))
        result[f"{name}_mean"] = round(mean, 4)
        result[f"{name}_std"] = round(variance**0.5, 4)
    return result


def to_text(card: dict[str, Any]) -> str:
    """The card for people."""
    splits = [s for s in SPLITS if card["frames"][s]]
    rows = [["split", "frames", "groups"]]
    rows += [[s, str(card["frames"][s]), str(card["groups"][s])] for s in splits]
    classes = [["class", *splits]]
    for name, share in card["class_share"].items():
        classes.append([name, *(f"{100 * share[s]:.2f} %" for s in splits)])
    sizes = ", ".join(f"{size} ({n})" for size, n in list(card["sizes"].items())[:6])
    depth = ", ".join(f"{k} {v:g}" for k, v in card["depth_m"].items())
    train = ", ".join(f"{k} {v:g}" for k, v in card["depth_train"].items())
    lines = [
        f"{card['dataset']}: {sum(card['frames'].values())} frames, {card['classes']} classes "
        f"({card['label_set']}), {card['bytes'] / 1e9:.3g} GB",
        table(rows),
        f"sizes: {sizes}; {card['frames_with_intrinsics']} frames with intrinsics "
        f"({card['cameras']} cameras), {card['frames_with_gravity']} with gravity",
        f"depth ({card['depth_quantity']}), m: {depth}; {100 * card['invalid_depth_share']:.1f} % "
        "invalid",
        f"to normalize depth with: {train}",
        table(classes),
        f"unlabeled: {100 * card['unlabeled_share']:.1f} %",
        f"twelve pictures: {card['pictures']}",
    ]
    if card["absent_in_train"]:
        lines.append(f"note: no pixel in train of {', '.join(card['absent_in_train'])}")
    problems = card["problems"]
    lines += [f"problem: {text}" for text in problems[:10]]
    if len(problems) > 10:
        lines.append(f"… and {len(problems) - 10} more")
    return "\n\n".join(lines[:8]) + "".join(f"\n{line}" for line in lines[8:])


def write_sheet(path: Path, root: Path, index: Index, height: int = 150) -> None:
    """Twelve frames, each as color, depth and labels side by side, two frames per row."""
    chosen = sorted(index.records, key=lambda r: sha256(r.name.encode()))[:PICTURES]
    strips = []
    for record in sorted(chosen, key=lambda r: (r.split, r.name)):
        strip = draw(root, record, index, height)
        if strip is not None:
            strips.append(strip)
    if not strips:
        return
    width = max(s.shape[1] for s in strips)
    strips = [np.pad(s, [(2, 2), (2, width - s.shape[1] + 2), (0, 0)]) for s in strips]
    strips += [np.zeros_like(strips[0])] * (len(strips) % 2)
    rows = [np.hstack(strips[i : i + 2]) for i in range(0, len(strips), 2)]
    _, png = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    path.write_bytes(png.tobytes())  # raises, where cv2.imwrite says nothing


def draw(root: Path, record: Record, index: Index, height: int) -> npt.NDArray[np.uint8] | None:
    """One frame's strip, or None if it cannot be read."""
    arrays = load(root, record, [])
    if arrays is None or any(a is None for a in arrays.values()):
        return None
    rgb = cv2.cvtColor(arrays["rgb"], cv2.COLOR_BGR2RGB)
    depth = to_meters(arrays["depth"], index.depth_scale)
    far = float(np.nanpercentile(depth, 95)) if np.isfinite(depth).any() else 1.0
    pictures = [rgb, colorize_depth(depth, far), overlay(rgb, arrays["labels"], index.label_set)]
    width = max(1, round(height * record.size[1] / record.size[0]))
    small = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in pictures]
    strip: npt.NDArray[np.uint8] = np.hstack(small).astype(np.uint8)
    text = f"{record.split} {record.name}"
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(strip, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, thickness)
    return strip
