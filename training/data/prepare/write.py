# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Write a data set into the prepared layout: plausible first, in any number of sittings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from training.data.prepare.base import Entry, Picture, RawDataset
from training.data.prepare.index import (
    FORMAT,
    INDEX,
    SPLITS,
    STREAMS,
    Index,
    Record,
    assign_splits,
    read_index,
    sha256,
    to_record,
)
from training.options import UsageError, opt
from training.runlog import tracked

JOURNAL = "unfinished.jsonl"
#: Frames looked at before anything is written.
SAMPLED = 12
#: Frames read before their files are written; also what an interruption can lose.
CHUNK = 16
#: Units that people mix up, meters per tick: mm, 0.1 mm (RealSense), 0.2 mm (TUM), cm, dm, m.
UNITS = (0.001, 0.0001, 0.0002, 0.01, 0.1, 1.0)
#: Files beyond this are listed in the index by size alone.
HASHED_BYTES = 1 << 26


@dataclass(frozen=True)
class Common:
    """Options of every data set."""

    source: str = opt("", "folder with the official files")
    out: str = opt("", "folder to write")
    val_fraction: float = opt(0.1, "share of the training groups (scenes) held out to validate")
    partial: bool = opt(False, "accept fewer frames or other sizes than were published")
    overwrite: bool = opt(False, "throw away another preparation in --out")
    dry_run: bool = opt(False, "check the files and say what would be written, then stop")
    workers: int = opt(2, "threads that compress pictures")

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 1:
            raise UsageError(f"val-fraction must be between 0 and 1, got {self.val_fraction}")
        if self.workers < 1:
            raise UsageError(f"workers must be 1 or more, got {self.workers}")


def say(text: str) -> None:
    """One line for people."""
    print(text, file=sys.stderr, flush=True)


def prepare(source: RawDataset, options: dict[str, Any], common: Common) -> Index | None:
    """Check the source, write what is not there yet, and the index last.

    Args:
        options: what the data set's own options were; part of the fingerprint.

    Returns:
        The index, or None after a dry run.

    Raises:
        UsageError: a defect of the source, too little disk, or another preparation in ``out``.
    """
    out = Path(common.out)
    entries = source.entries()
    check_names(entries)
    splits = assign_splits(
        [e.name for e in entries],
        [e.group for e in entries],
        [e.split for e in entries],
        common.val_fraction,
    )
    check_counts(source, entries, common.partial)
    files = describe_files(source, Path(common.source))
    fingerprint = make_fingerprint(source, entries, options, files)
    done, stale = resume(out, fingerprint)
    if stale and not common.overwrite:
        raise UsageError(
            f"{out} holds another preparation (other options, files or data set): choose "
            "another --out, or --overwrite"
        )
    todo = [e for e in entries if e.name not in done or is_outdated(source, e, out)]
    say(f"{source.name}: {_counted(splits)}; {len(todo)} of {len(entries)} frames to write")
    if todo:
        need = estimate(source, entries, todo)
        where = next(p for p in (out.resolve(), *out.resolve().parents) if p.exists())
        free = shutil.disk_usage(where).free
        say(f"needs about {need / 1e9:.3g} GB in {out}, {free / 1e9:.3g} GB are free")
        if need > free:
            raise UsageError(
                f"{out} needs about {need / 1e9:.3g} GB, its disk has {free / 1e9:.3g} GB free: "
                "free some or choose another --out"
            )
    if common.dry_run:
        return None
    if stale:
        remove(out)
    if todo:
        done |= write_frames(source, todo, out, fingerprint, common.workers)
    records = tuple(
        Record(**{**asdict(done[e.name]), "group": e.group, "split": s})
        for e, s in zip(entries, splits, strict=True)
    )
    index = Index(
        source.name, source.label_set, source.depth_scale, source.quantity, options,
        {"page": source.page, "files": files}, common.val_fraction, fingerprint, records,
    )  # fmt: skip
    finish(out, index)
    return index


def check_names(entries: Sequence[Entry]) -> None:
    """Raise unless there are frames and their names are unique."""
    if not entries:
        raise UsageError("no frames found; is --source the right folder?")
    twice = [name for name, n in Counter(e.name for e in entries).items() if n > 1]
    if twice:
        raise UsageError(f"{len(twice)} frame names are not unique, such as {twice[0]!r}")


def check_counts(source: RawDataset, entries: Sequence[Entry], partial: bool) -> None:
    """Compare the number of frames with the published one."""
    found = Counter(e.split for e in entries)
    counts = {"all": len(entries), **{s: found[s] for s in ("train", "test")}}
    wrong = [f"{k} {counts[k]} (published: {n})" for k, n in source.expected.items()
             if counts[k] != n]  # fmt: skip
    if not wrong:
        return
    text = f"{source.name} has another number of frames: {', '.join(wrong)}"
    if source.expected_is_official and not partial:
        raise UsageError(f"{text}; complete the files from {source.page}, or give --partial")
    say(f"note: {text}")


def make_fingerprint(
    source: RawDataset, entries: Sequence[Entry], options: dict[str, Any], files: dict[str, Any]
) -> str:
    """Of everything that decides the pictures."""
    document = [
        FORMAT, source.name, options, source.label_set.classes, source.depth_scale, files,
        [e.name for e in entries],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(document, default=str).encode()).hexdigest()


def describe_files(source: RawDataset, root: Path) -> dict[str, Any]:
    """Name → bytes and sha256 of the files that identify the source."""
    found: dict[str, Any] = {}
    for path in source.files:
        size = path.stat().st_size
        name = path.relative_to(root).as_posix()
        found[name] = {"bytes": size}
        if size <= HASHED_BYTES:
            found[name]["sha256"] = sha256(path.read_bytes())
    return found


# --- What is there already -----------------------------------------------------------------------


def resume(out: Path, fingerprint: str) -> tuple[dict[str, Record], bool]:
    """Frames of this very preparation whose files are there; whether ``out`` is of another one.

    Raises:
        UsageError: ``out`` holds something else than a preparation.
    """
    records: list[Record] = []
    other = None
    if (out / INDEX).is_file():
        index = read_index(out)
        other, records = index.fingerprint, list(index.records)
    if (out / JOURNAL).is_file():
        lines = list(_journal(out / JOURNAL))
        other = lines[0].get("fingerprint", "") if lines else fingerprint
        records += [to_record(line) for line in lines[1:]]
    if other is not None and other != fingerprint:
        return {}, True
    if other is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is no prepared data set: choose an empty --out")
    return {r.name: r for r in records if _is_there(out, r)}, False


def remove(out: Path) -> None:
    """Delete a preparation, and nothing else."""
    for name in (*STREAMS, INDEX, JOURNAL, "dataset.yaml", *(f"{s}.txt" for s in SPLITS)):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def is_outdated(source: RawDataset, entry: Entry, out: Path) -> bool:
    """Whether a picture that was prepared has been edited since."""
    written = min((out / s / f"{entry.name}.png").stat().st_mtime_ns for s in STREAMS)
    return any(path.stat().st_mtime_ns > written for path in source.edited(entry))


def _is_there(out: Path, record: Record) -> bool:
    for stream in STREAMS:
        path = out / stream / f"{record.name}.png"
        if not path.is_file() or path.stat().st_size != record.bytes[stream]:
            return False
    return True


def _journal(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # the line that was being written when the machine went down
            return


# --- Before writing ------------------------------------------------------------------------------


def estimate(source: RawDataset, entries: Sequence[Entry], todo: Sequence[Entry]) -> float:
    """Bytes that ``todo`` will need, from a few frames, whose depth must be plausible."""
    chosen = [entries[i] for i in np.unique(np.linspace(0, len(entries) - 1, SAMPLED).astype(int))]
    shown = tracked(chosen, len(chosen), "looking at frames")
    pictures = [read_checked(source, entry) for entry in shown]
    check_plausible(source, pictures)
    sizes = [sum(map(len, encode(p, source.depth_scale).values())) for p in pictures]
    blocks = 3 * 4096 / 2  # what the file system rounds up, on average
    return (float(np.mean(sizes)) + blocks) * len(todo) * 1.05


def check_plausible(source: RawDataset, pictures: Sequence[Picture]) -> None:
    """Raise if depth is in a wrong unit or there is none."""
    depth = np.concatenate([p.depth_m[::4, ::4].ravel() for p in pictures])
    valid = depth[np.isfinite(depth)]
    if not valid.size:
        raise UsageError(f"{source.name}: no valid depth in {len(pictures)} sampled frames")
    median, (low, high) = float(np.median(valid)), source.plausible_m
    if low <= median <= high:
        return
    unit = getattr(source, "depth_unit", None)
    hint = "is it another kind of depth?"
    if unit:
        fitting = [u for u in UNITS if low <= median / unit * u <= high]
        hint = "wrong unit? try " + (
            " or ".join(f"--depth-unit {u:g}" for u in fitting) or "another --depth-unit"
        )
    raise UsageError(
        f"{source.name}: median depth of {len(pictures)} sampled frames is {median:.3g} m, "
        f"outside {low:g}..{high:g} m: {hint}"
    )


def encode(picture: Picture, depth_scale: float) -> dict[str, bytes]:
    """Stream → PNG.

    Raises:
        UsageError: depth beyond the last tick, 65534.
    """
    depth = picture.depth_m
    valid = np.isfinite(depth) & (depth > 0)
    ticks = np.rint(np.where(valid, depth, 0).astype(np.float64) / depth_scale)
    if ticks.max(initial=0) > 65534:
        raise UsageError(
            f"depth of {np.nanmax(depth):.1f} m does not fit 16 bits of {depth_scale:g} m "
            f"(farthest {65534 * depth_scale:.1f} m): wrong --depth-unit, or a coarser --tick?"
        )
    ticks = np.maximum(ticks, 1)
    arrays = {
        "rgb": cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2BGR),
        "depth": np.where(valid, ticks, 0).astype(np.uint16),
        "labels": picture.labels,
    }
    return {stream: _png(array) for stream, array in arrays.items()}


def _png(array: npt.NDArray[Any]) -> bytes:
    fine, data = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not fine:
        raise UsageError(f"OpenCV cannot write {array.dtype} {array.shape} as PNG")
    return data.tobytes()


# --- Writing -------------------------------------------------------------------------------------


def write_frames(
    source: RawDataset, todo: Sequence[Entry], out: Path, fingerprint: str, workers: int
) -> dict[str, Record]:
    """Write the frames and a journal that lets the next call go on."""
    new = not (out / JOURNAL).is_file()
    out.mkdir(parents=True, exist_ok=True)
    written: dict[str, Record] = {}

    def records() -> Iterator[Record]:
        with ThreadPoolExecutor(workers) as pool:  # compression releases the interpreter's lock
            for start in range(0, len(todo), CHUNK):
                part = todo[start : start + CHUNK]
                pictures = [read_checked(source, entry) for entry in part]
                scales = [source.depth_scale] * len(part)
                yield from pool.map(write_frame, part, pictures, scales, [out] * len(part))

    with (out / JOURNAL).open("a", encoding="utf-8", buffering=1) as journal:
        if new:
            journal.write(json.dumps({"fingerprint": fingerprint}) + "\n")
        for stream in STREAMS:
            (out / stream).mkdir(exist_ok=True)
        for record in tracked(records(), len(todo), f"preparing {source.name}"):
            written[record.name] = record
            journal.write(json.dumps(asdict(record)) + "\n")
    return written


def read_checked(source: RawDataset, entry: Entry) -> Picture:
    """A frame, with sizes and class ids checked."""
    picture = source.read(entry)
    sizes = {picture.rgb.shape[:2], picture.depth_m.shape, picture.labels.shape}
    if len(sizes) > 1:
        raise UsageError(
            f"{source.name} {entry.name}: color is {picture.rgb.shape[:2]}, depth "
            f"{picture.depth_m.shape}, labels {picture.labels.shape}; all must be one size"
        )
    ids = picture.labels[picture.labels != 255]
    if ids.size and int(ids.max()) >= len(source.label_set):
        raise UsageError(
            f"{source.name} {entry.name} has class id {int(ids.max())}, "
            f"{source.label_set.name} has ids 0..{len(source.label_set) - 1}"
        )
    return picture


def write_frame(entry: Entry, picture: Picture, depth_scale: float, out: Path) -> Record:
    """Three PNGs, each there as a whole or not at all."""
    data = encode(picture, depth_scale)
    for stream, content in data.items():
        path = out / stream / f"{entry.name}.png"
        scratch = path.with_suffix(".part")
        scratch.write_bytes(content)
        os.replace(scratch, path)
    height, width = picture.labels.shape
    return Record(
        entry.name, entry.group, entry.split or "train", (height, width),
        {stream: len(content) for stream, content in data.items()},
        {stream: sha256(content) for stream, content in data.items()},
        picture.intrinsics, picture.gravity,
    )  # fmt: skip


def finish(out: Path, index: Index) -> None:
    """The index, and what the ``folder`` reader wants; the journal goes last."""
    import yaml

    texts = {INDEX: index.to_json()}
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
        scratch = out / f"{name}.part"
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, out / name)
    (out / JOURNAL).unlink(missing_ok=True)
    shown = _counted([r.split for r in index.records])
    say(f"{out / INDEX}: {shown}; look at it with python -m training.prepare check {out}")


def _counted(splits: Sequence[str]) -> str:
    found = Counter(splits)
    return ", ".join(f"{s} {found[s]}" for s in SPLITS if found[s])
