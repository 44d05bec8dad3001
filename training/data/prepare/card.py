# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Data card of a prepared dataset: frames, classes, depth, sample images and defects."""

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
from rgbd_seg_ros.image_io import ImageFileError, read_image, read_rgb, write_image
from rgbd_seg_ros.progress import progress_bar
from rgbd_seg_ros.text_table import text_table
from training.data.checks import size_text
from training.data.class_report import check_classes, class_table
from training.data.prepare.index import Index, Record, read_index, sha256
from training.data.sample import FOLDERS, SPLITS

#: Default name of the image with sample frames.
CARD_IMAGE = "card.png"
#: Frames drawn on the card, and the height of each of their images in pixels.
SAMPLE_FRAMES, SAMPLE_HEIGHT = 12, 150
#: Depth percentiles in the card.
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass
class CardStatistics:
    """Counts over the frames of one split."""

    frames: int = 0
    pixels: int = 0
    unlabeled: int = 0
    invalid_depth: int = 0
    #: Pixels of each class id.
    classes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    #: Pixels of each depth tick, from which exact percentiles follow.
    ticks: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(65536, np.int64))


def check(root: Path, image: Path | None = None) -> dict[str, Any]:
    """Read every file of a prepared dataset and compare it with the index.

    Args:
        root: folder of the dataset.
        image: file for sample frames; by default ``card.png`` in the folder.

    Returns:
        The card; ``problems`` lists what is missing, changed or wrong.

    Raises:
        UsageError: the index is missing or defective.
    """
    index = read_index(root)
    statistics = {split: CardStatistics() for split in SPLITS}
    problems: list[str] = []
    with progress_bar("checking", len(index.records), "frame", iterable=index.records) as bar:
        for record in bar:
            images = load(root, record, problems)
            if images:
                count(statistics[record.split], images, record, index, problems)
    names = {record.name for record in index.records}
    unlisted = [p for f in FOLDERS for p in sorted((root / f).glob("*")) if p.stem not in names]
    if unlisted:
        problems.append(f"{len(unlisted)} files are not in the index, such as {unlisted[0]}")
    path = image or root / CARD_IMAGE
    write_samples(path, root, index)
    return to_card(index, statistics, problems) | {"image": str(path)}


def load(root: Path, record: Record, problems: list[str]) -> dict[str, npt.NDArray[Any]] | None:
    """Read the three images of a frame; on a defect, add it to ``problems`` and return None."""
    images = {}
    for folder in FOLDERS:
        path = root / folder / f"{record.name}.png"
        try:
            if sha256(path.read_bytes()) != record.sha256[folder]:
                problems.append(f"{path}: changed since it was prepared (sha256)")
                return None
            images[folder] = read_rgb(path) if folder == "rgb" else read_image(path)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
            return None
        except ImageFileError as error:
            problems.append(str(error))
            return None
    return images


def count(
    statistics: CardStatistics,
    images: dict[str, npt.NDArray[Any]],
    record: Record,
    index: Index,
    problems: list[str],
) -> None:
    """Add a frame to the counts, and its defects to ``problems``."""
    labels, ticks = images["labels"], images["depth"]
    if labels.shape != record.size or ticks.shape != record.size:
        problems.append(
            f"{record.name}: labels of {size_text(labels.shape)} and depth of "
            f"{size_text(ticks.shape)} pixels, but {size_text(record.size)} in the index"
        )
        return
    classes = np.bincount(labels.ravel(), minlength=256)
    wrong = np.flatnonzero(classes[len(index.label_set) : 255])
    if wrong.size:
        problems.append(
            f"{record.name}: class id {len(index.label_set) + int(wrong[0])}, "
            f"{index.label_set.name} has {len(index.label_set)} classes"
        )
    statistics.frames += 1
    statistics.pixels += labels.size
    statistics.classes += classes
    statistics.unlabeled += int(classes[255])
    statistics.invalid_depth += int((ticks == 0).sum())
    statistics.ticks += np.bincount(ticks.ravel(), minlength=65536)


def to_card(
    index: Index, statistics: dict[str, CardStatistics], problems: list[str]
) -> dict[str, Any]:
    """The card as plain JSON; class shares refer to labeled pixels, other shares to all pixels."""
    train, classes = statistics["train"], index.label_set.classes
    counts = {
        s: np.append(t.classes[: len(classes)], t.unlabeled)
        for s, t in statistics.items()
        if t.frames
    }
    problem, warnings = check_classes(index.label_set, counts)
    if problem:
        problems.append(problem)
    labeled = {s: max(1, t.pixels - t.unlabeled) for s, t in statistics.items()}
    shares = {
        name: {
            s: round(float(t.classes[i] / labeled[s]), 6)
            for s, t in statistics.items()
            if t.frames
        }
        for i, name in enumerate(classes)
    }
    everything = sum((t.ticks for t in statistics.values()), np.zeros(65536, np.int64))
    pixels = max(1, sum(t.pixels for t in statistics.values()))
    sizes = Counter(size_text(r.size) for r in index.records)
    cameras = {r.intrinsics for r in index.records if r.intrinsics}
    return {
        "dataset": index.dataset,
        "label_set": index.label_set.name,
        "classes": len(index.label_set),
        "frames": {s: t.frames for s, t in statistics.items()},
        "groups": {s: len({r.group for r in index.records if r.split == s}) for s in SPLITS},
        "sizes": dict(sizes.most_common()),
        "cameras": len(cameras),
        "frames_with_intrinsics": sum(r.intrinsics is not None for r in index.records),
        "frames_with_gravity": sum(r.gravity is not None for r in index.records),
        "bytes": sum(sum(r.bytes.values()) for r in index.records),
        "class_share": shares,
        "class_pixels": {
            s: dict(zip(classes, c[:-1].tolist(), strict=True)) for s, c in counts.items()
        },
        "unlabeled_pixels": {s: int(c[-1]) for s, c in counts.items()},
        "unlabeled_share": round(sum(t.unlabeled for t in statistics.values()) / pixels, 6),
        "absent_in_train": [n for n, s in shares.items() if train.frames and not s["train"]],
        "depth_quantity": index.quantity,
        "depth_m": percentiles(everything, index.depth_scale),
        "invalid_depth_share": round(
            sum(t.invalid_depth for t in statistics.values()) / pixels, 6
        ),
        "depth_train": moments(train.ticks, index.depth_scale),
        "warnings": warnings,
        "problems": problems,
    }


def percentiles(ticks: npt.NDArray[np.int64], scale: float) -> dict[str, float]:
    """Percentiles of the valid depth such as ``{"p50": meters}``; empty without valid depth."""
    sums = np.cumsum(ticks[1:])
    if not sums[-1]:
        return {}
    positions = np.searchsorted(sums, np.ceil(np.array(PERCENTILES) / 100 * sums[-1]))
    return {
        f"p{p}": round(float((i + 1) * scale), 4)
        for p, i in zip(PERCENTILES, positions, strict=True)
    }


def moments(ticks: npt.NDArray[np.int64], scale: float) -> dict[str, float]:
    """Mean and std of depth (m) and of its inverse (1/m), which training uses to normalize."""
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
    """The card as text."""
    splits = [s for s in SPLITS if card["frames"][s]]
    rows = [["split", "frames", "groups"]]
    rows += [[s, str(card["frames"][s]), str(card["groups"][s])] for s in splits]
    counts = {
        s: np.array([*card["class_pixels"][s].values(), card["unlabeled_pixels"][s]])
        for s in splits
    }
    sizes = ", ".join(f"{size} ({n})" for size, n in list(card["sizes"].items())[:6])
    depth = ", ".join(f"{k} {v:g}" for k, v in card["depth_m"].items())
    train = ", ".join(f"{k} {v:g}" for k, v in card["depth_train"].items())
    lines = [
        f"{card['dataset']}: {sum(card['frames'].values())} frames, {card['classes']} classes "
        f"({card['label_set']}), {card['bytes'] / 1e9:.3g} GB",
        text_table(rows),
        f"sizes: {sizes}; {card['frames_with_intrinsics']} frames with intrinsics "
        f"({card['cameras']} cameras), {card['frames_with_gravity']} with gravity",
        f"depth ({card['depth_quantity']}), m: {depth}; {100 * card['invalid_depth_share']:.1f} % "
        "invalid",
        f"to normalize depth in training: {train}",
        class_table(list(card["class_share"]), counts),
        f"sample frames: {card['image']}",
        *(f"warning: {text}" for text in card["warnings"]),
    ]
    problems = card["problems"]
    lines += [f"problem: {text}" for text in problems[:10]]
    if len(problems) > 10:
        lines.append(f"… and {len(problems) - 10} more")
    return "\n\n".join(lines[:7]) + "".join(f"\n{line}" for line in lines[7:])


def write_samples(path: Path, root: Path, index: Index) -> None:
    """Draw twelve frames as color, depth and labels side by side, two frames per row."""
    chosen = sorted(index.records, key=lambda r: sha256(r.name.encode()))[:SAMPLE_FRAMES]
    strips = []
    for record in sorted(chosen, key=lambda r: (r.split, r.name)):
        strip = draw(root, record, index)
        if strip is not None:
            strips.append(strip)
    if not strips:
        return
    width = max(s.shape[1] for s in strips)
    strips = [np.pad(s, [(2, 2), (2, width - s.shape[1] + 2), (0, 0)]) for s in strips]
    strips += [np.zeros_like(strips[0])] * (len(strips) % 2)
    rows = [np.hstack(strips[i : i + 2]) for i in range(0, len(strips), 2)]
    write_image(path, np.vstack(rows))


def draw(root: Path, record: Record, index: Index) -> npt.NDArray[np.uint8] | None:
    """Strip of one frame's three images, or None if the frame cannot be read."""
    images = load(root, record, [])
    if images is None:
        return None
    rgb = images["rgb"]
    depth = to_meters(images["depth"], index.depth_scale)
    far = float(np.nanpercentile(depth, 95)) if np.isfinite(depth).any() else 1.0
    panels = [rgb, colorize_depth(depth, far), overlay(rgb, images["labels"], index.label_set)]
    width = max(1, round(SAMPLE_HEIGHT * record.size[1] / record.size[0]))
    small = [cv2.resize(p, (width, SAMPLE_HEIGHT), interpolation=cv2.INTER_AREA) for p in panels]
    strip: npt.NDArray[np.uint8] = np.hstack(small).astype(np.uint8)
    text = f"{record.split} {record.name}"
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(strip, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, thickness)
    return strip
