# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Writes a dataset into the prepared layout after plausibility checks; resumable."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.files import check_writable, write_atomically
from rgbd_seg_ros.image_io import encode_image
from rgbd_seg_ros.progress import progress_bar, say
from training.data.checks import (
    check_depth,
    describe_unusable,
    judge_frame,
    sampled,
)
from training.data.class_report import check_classes, class_table, split_counts
from training.data.prepare.base import Entry, FrameData, RawDataset
from training.data.prepare.frame_checks import check_frame, check_frames, to_ticks
from training.data.prepare.index import (
    FORMAT,
    INDEX,
    Index,
    Record,
    assign_splits,
    open_prepared,
    read_index,
    read_journal,
    sha256,
)
from training.data.sample import FOLDERS, SPLITS
from training.options import UsageError, opt

#: Records of the frames written so far, while a preparation is incomplete.
JOURNAL = "unfinished.jsonl"
#: Larger files are listed in the index by size alone, without a hash.
HASHED_BYTES = 1 << 26


@dataclass(frozen=True)
class PrepareOptions:
    """Options of every dataset."""

    source: str = opt("", "folder with the official files")
    out: str = opt("", "folder to write")
    val_fraction: float = opt(0.1, "share of the training groups (scenes) held out for validation")
    partial: bool = opt(False, "accept fewer frames or other image sizes than were published")
    overwrite: bool = opt(False, "replace a different preparation in --out")
    dry_run: bool = opt(False, "check the files, report what would be written, and stop")
    workers: int = opt(2, "threads that compress images")

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 1:
            raise UsageError(f"val-fraction must be between 0 and 1, got {self.val_fraction}")
        if self.workers < 1:
            raise UsageError(f"workers must be 1 or more, got {self.workers}")


def prepare(dataset: RawDataset, options: dict[str, Any], common: PrepareOptions) -> Index | None:
    """Check the dataset, write the missing frames, and write the index last.

    Args:
        dataset: the official files.
        options: values of the dataset's own options, which are part of the fingerprint.
        common: the options of every dataset.

    Returns:
        The index, or None after a dry run.

    Raises:
        UsageError: an invalid dataset, too little disk space, or a different preparation in
            ``out``.
        OutputError: ``out`` cannot be written.
        ImageFileError: an invalid image.
    """
    out = Path(common.out)
    check_writable(out, "--out")
    entries = dataset.entries()
    check_names(entries)
    splits = assign_splits(
        [e.name for e in entries],
        [e.group for e in entries],
        [e.split for e in entries],
        common.val_fraction,
    )
    check_counts(dataset, entries, common.partial)
    files = describe_files(dataset, Path(common.source))
    fingerprint = make_fingerprint(dataset, entries, options, files)
    done, stale = resume(out, fingerprint)
    if stale and not common.overwrite:
        raise UsageError(
            f"{out} holds a different preparation (other options, files or dataset): choose "
            "another --out or add --overwrite"
        )
    todo = [e for e in entries if e.name not in done or is_outdated(dataset, e, out)]
    say(f"{dataset.name}: {_counted(splits)}; {len(todo)} of {len(entries)} frames to write")
    if todo:
        need = estimate(dataset, entries, todo)
        where = next(p for p in (out.resolve(), *out.resolve().parents) if p.exists())
        free = shutil.disk_usage(where).free
        say(f"{out} needs about {need / 1e9:.3g} GB; {free / 1e9:.3g} GB are free")
        if need > free:
            raise UsageError(
                f"{out} needs about {need / 1e9:.3g} GB, but only {free / 1e9:.3g} GB are free: "
                "free some space or choose another --out"
            )
    if common.dry_run:
        if dataset.needs_source:  # rooms would have to be rendered
            check_frames(dataset, entries, splits)
        return None
    if stale:
        remove(out)
    if todo:
        done |= write_frames(dataset, todo, out, fingerprint, common.workers)
    records = tuple(
        Record(**{**asdict(done[e.name]), "group": e.group, "split": s})
        for e, s in zip(entries, splits, strict=True)
    )
    index = Index(
        dataset.name, dataset.label_set, dataset.depth_scale, dataset.quantity, options,
        {"page": dataset.page, "files": files}, common.val_fraction, fingerprint, records,
    )  # fmt: skip
    finish(out, index, dataset.finished(out))
    return index


def check_names(entries: Sequence[Entry]) -> None:
    """Raise UsageError unless there are frames and their names are unique."""
    if not entries:
        raise UsageError("no frames were found; is --source the right folder?")
    twice = [name for name, n in Counter(e.name for e in entries).items() if n > 1]
    if twice:
        raise UsageError(f"{len(twice)} frame names are not unique, such as {twice[0]!r}")


def check_counts(dataset: RawDataset, entries: Sequence[Entry], partial: bool) -> None:
    """Compare the number of frames with the published one; raise UsageError or print a note."""
    found = Counter(e.split for e in entries)
    counts = {"all": len(entries), **{s: found[s] for s in ("train", "test")}}
    wrong = [f"{k} {counts[k]} (published: {n})" for k, n in dataset.expected.items()
             if counts[k] != n]  # fmt: skip
    if not wrong:
        return
    text = f"{dataset.name} has an unexpected number of frames: {', '.join(wrong)}"
    if dataset.expected_is_official and not partial:
        raise UsageError(f"{text}; complete the files from {dataset.page} or add --partial")
    say(f"note: {text}")


def make_fingerprint(
    dataset: RawDataset, entries: Sequence[Entry], options: dict[str, Any], files: dict[str, Any]
) -> str:
    """Hash of everything that determines the images."""
    names = [e.name for e in entries]
    if dataset.fingerprint_options is not None:
        options, names = dataset.fingerprint_options, []
    document = [
        FORMAT, dataset.name, options, dataset.label_set.classes, dataset.depth_scale, files,
        names,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(document, default=str).encode()).hexdigest()


def describe_files(dataset: RawDataset, root: Path) -> dict[str, Any]:
    """Name → size and sha256 of the files that identify the copy of the dataset."""
    found: dict[str, Any] = {}
    for path in dataset.files:
        size = path.stat().st_size
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        found[name] = {"bytes": size}
        if size <= HASHED_BYTES:
            found[name]["sha256"] = sha256(path.read_bytes())
    return found


# --- Earlier runs --------------------------------------------------------------------------------


def resume(out: Path, fingerprint: str) -> tuple[dict[str, Record], bool]:
    """Look for frames that an earlier run has written.

    Returns:
        The finished frames of this preparation by name, and whether ``out`` contains a different
        preparation.

    Raises:
        UsageError: ``out`` contains something other than a preparation.
    """
    records: list[Record] = []
    other = None
    if (out / INDEX).is_file():
        index = read_index(out)
        other, records = index.fingerprint, list(index.records)
    if (out / JOURNAL).is_file():
        begun, written = read_journal(out / JOURNAL)
        other = begun or other or fingerprint  # no `begun`: interrupted in the first line
        records += written
    if other is not None and other != fingerprint:
        return {}, True
    if other is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists but is not a prepared dataset: choose an empty --out")
    return {r.name: r for r in records if _is_complete(out, r)}, False


def remove(out: Path) -> None:
    """Delete the files of a preparation and nothing else."""
    texts = ("credits.txt", "dataset.yaml", *(f"{s}.txt" for s in SPLITS))
    for name in (*FOLDERS, INDEX, JOURNAL, *texts):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def is_outdated(dataset: RawDataset, entry: Entry, out: Path) -> bool:
    """Whether an official file of the frame is newer than its prepared images."""
    written = min((out / folder / f"{entry.name}.png").stat().st_mtime_ns for folder in FOLDERS)
    return any(path.stat().st_mtime_ns > written for path in dataset.edited(entry))


def _is_complete(out: Path, record: Record) -> bool:
    for folder in FOLDERS:
        path = out / folder / f"{record.name}.png"
        if not path.is_file() or path.stat().st_size != record.bytes[folder]:
            return False
    return True


# --- Before writing ------------------------------------------------------------------------------


def estimate(dataset: RawDataset, entries: Sequence[Entry], todo: Sequence[Entry]) -> float:
    """Estimate the bytes that ``todo`` needs from a few frames, whose depth must be plausible."""
    chosen = [entries[i] for i in sampled(len(entries), dataset.sampled)]
    with progress_bar("checking frames", len(chosen), "frame", iterable=chosen) as bar:
        frames = [check_frame(dataset, entry, dataset.read(entry)) for entry in bar]
    line = check_depth(
        dataset.name, [f.depth_m for f in frames], dataset.depth_unit, "--depth-unit {}",
        dataset.plausible_m,
    )  # fmt: skip
    say(line)
    sizes = [sum(map(len, encode(f, dataset.depth_scale).values())) for f in frames]
    blocks = 3 * 4096 / 2  # file sizes are rounded up to blocks, on average by half a block
    return (float(np.mean(sizes)) + blocks) * len(todo) * 1.05


def encode(frame: FrameData, depth_scale: float) -> dict[str, bytes]:
    """Folder → PNG file; raises as :func:`to_ticks`."""
    depth = to_ticks(frame, depth_scale)
    images = {"rgb": frame.rgb, "depth": depth, "labels": frame.labels}
    return {
        folder: encode_image(".png", image, png_compression=3) for folder, image in images.items()
    }


# --- Writing -------------------------------------------------------------------------------------


def write_frames(
    dataset: RawDataset, todo: Sequence[Entry], out: Path, fingerprint: str, workers: int
) -> dict[str, Record]:
    """Write the frames, and a journal from which the next run can resume."""
    new = not (out / JOURNAL).is_file()
    out.mkdir(parents=True, exist_ok=True)
    written: dict[str, Record] = {}

    def records() -> Iterator[Record]:
        with ThreadPoolExecutor(workers) as pool:  # compression releases the GIL
            frames = dataset.read_each(todo)
            for start in range(0, len(todo), dataset.chunk):
                part = todo[start : start + dataset.chunk]
                checked = [check_frame(dataset, entry, next(frames)) for entry in part]
                scales = [dataset.depth_scale] * len(part)
                yield from pool.map(write_frame, part, checked, scales, [out] * len(part))

    bar = progress_bar(f"preparing {dataset.name}", len(todo), "frame", iterable=records())
    with (out / JOURNAL).open("a", encoding="utf-8", buffering=1) as journal, bar:
        if new:
            journal.write(json.dumps({"fingerprint": fingerprint}) + "\n")
        for folder in FOLDERS:
            (out / folder).mkdir(exist_ok=True)
        for record in bar:
            written[record.name] = record
            journal.write(json.dumps(asdict(record)) + "\n")
    return written


def write_frame(entry: Entry, frame: FrameData, depth_scale: float, out: Path) -> Record:
    """Write the three images of a frame and return its record."""
    data = encode(frame, depth_scale)
    for folder, content in data.items():
        write_atomically(out / folder / f"{entry.name}.png", content)
    height, width = frame.labels.shape
    return Record(
        entry.name, entry.group, entry.split or "train", (height, width),
        {folder: len(content) for folder, content in data.items()},
        {folder: sha256(content) for folder, content in data.items()},
        frame.intrinsics, frame.gravity, count_pixels(frame.labels),
        judge_frame(frame.rgb, frame.depth_m),
    )  # fmt: skip


def say_classes(out: Path, index: Index) -> str:
    """Print the share of each class in each split; returns what prevents a training, or ""."""
    splits = [s for s in SPLITS if any(r.split == s for r in index.records)]
    if any(r.pixels is None for r in index.records):  # written before they were counted
        return ""
    counts = {s: split_counts(open_prepared(str(out), s)) for s in splits}
    say(class_table(index.label_set.classes, counts))
    problem, warnings = check_classes(index.label_set, counts)
    for warning in warnings:
        say(f"warning: {warning}")
    return problem


def count_pixels(labels: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Class id → number of its pixels, 255 for unlabeled ones, without those that have none."""
    counts = np.bincount(labels.ravel())
    return {str(i): int(counts[i]) for i in np.flatnonzero(counts)}


def finish(out: Path, index: Index, further: dict[str, str]) -> None:
    """Write all files but the images, the index among them, then delete the journal."""
    import yaml

    texts = {**further, INDEX: index.to_json()}
    for split in SPLITS:
        names = [r.name for r in index.records if r.split == split]
        texts[f"{split}.txt"] = "".join(f"{name}\n" for name in names)
    description = {
        "name": index.label_set.name,
        "classes": list(index.label_set.classes),
        "depth_scale": index.depth_scale,
    }
    texts["dataset.yaml"] = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    for name, text in texts.items():
        write_atomically(out / name, text)
    (out / JOURNAL).unlink(missing_ok=True)
    problem = say_classes(out, index)
    for line in describe_unusable({r.name: r.unusable or {} for r in index.records}):
        say(f"warning: {line}")
    counts = _counted([r.split for r in index.records])
    say(f"{out / INDEX}: {counts}; to inspect it, run python -m training.prepare check {out}")
    if problem:
        raise UsageError(f"{out} is complete but cannot be learned: {problem}")


def _counted(splits: Sequence[str]) -> str:
    found = Counter(splits)
    return ", ".join(f"{s} {found[s]}" for s in SPLITS if found[s])
