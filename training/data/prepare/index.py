# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The layout of a prepared dataset: its index, and the reader for training and evaluation.

rgb/NAME.png      8-bit color
depth/NAME.png    16-bit ticks of ``depth.scale_m`` meters, 0 invalid
labels/NAME.png   8-bit class ids from 0, 255 unlabeled
index.json        split, group, intrinsics, gravity, sizes and sha256 of every frame
dataset.yaml, train.txt, val.txt, test.txt    the same for ``--data folder``
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.files import InputFileError, parse_json, read_json, read_regular_file
from rgbd_seg_ros.labels import IGNORE_ID, LabelSet
from rgbd_seg_ros.names import shown
from training.data.checks import describe_unusable
from training.data.sample import FOLDERS, SPLITS, Sample, hold_out
from training.options import UsageError

INDEX = "index.json"
FORMAT = 1
#: A larger index is not read, in bytes. That of Mid-Air, with 119,000 frames, has about 80 MB.
MAX_INDEX_BYTES = 2**30
#: Type of each value of the index, without its label set.
INDEX_KEYS = {
    "dataset": str,
    "depth": dict,
    "options": dict,
    "source": dict,
    "val_fraction": float,
    "fingerprint": str,
    "frames": list,
}
#: Remedy for a defective index.
AGAIN = "delete that file and prepare the dataset again"


@dataclass(frozen=True)
class Record:
    """One frame in the index."""

    name: str
    group: str
    split: str
    #: (height, width).
    size: tuple[int, int]
    #: Folder → size of its file in bytes.
    bytes: dict[str, int]
    #: Folder → sha256 of its file.
    sha256: dict[str, str]
    #: fx, fy, cx, cy in pixels.
    intrinsics: tuple[float, float, float, float] | None = None
    #: Unit vector pointing down in the optical frame.
    gravity: tuple[float, float, float] | None = None
    #: Class id → number of its pixels, without classes that have none; 255 is unlabeled. None in
    #: an index from before they were counted.
    pixels: dict[str, int] | None = None
    #: ``rgb`` or ``depth`` → why the node would not use the image, such as ``no_depth``. None in
    #: an index from before the images were judged.
    unusable: dict[str, str] | None = None


@dataclass(frozen=True)
class Index:
    """The content of ``index.json``."""

    #: Name of the dataset, for example ``nyuv2``.
    dataset: str
    label_set: LabelSet
    #: Meters per tick of the depth images.
    depth_scale: float
    #: Meaning of the depth images, for example ``metric depth``.
    quantity: str
    #: The dataset's own options.
    options: dict[str, Any]
    #: The official page, and the files that identify the copy of the dataset.
    source: dict[str, Any]
    #: Share of the groups held out for validation.
    val_fraction: float
    #: Hash of everything that determines the images; equal hashes mean equal images.
    fingerprint: str
    records: tuple[Record, ...]

    def to_json(self) -> str:
        """The text of the file, with one line per frame."""
        label_set = self.label_set
        document = {
            "format": FORMAT,
            "dataset": self.dataset,
            "label_set": {
                "name": label_set.name,
                "classes": label_set.classes,
                "palette": label_set.palette,
            },
            "depth": {"scale_m": self.depth_scale, "quantity": self.quantity},
            "options": self.options,
            "source": self.source,
            "val_fraction": self.val_fraction,
            "fingerprint": self.fingerprint,
            "frames": [],
        }
        lines = [json.dumps(dataclasses.asdict(r), ensure_ascii=False) for r in self.records]
        text = json.dumps(document, indent=1, ensure_ascii=False)
        return (
            text.replace('"frames": []', '"frames": [\n  ' + ",\n  ".join(lines) + "\n ]") + "\n"
        )


def read_index(root: Path) -> Index:
    """Read and check the ``index.json`` of a prepared folder.

    Raises:
        UsageError: the file is missing or defective, or has another format.
    """
    path = root / INDEX
    if not path.is_file():
        raise UsageError(
            f"{root} is not a prepared dataset ({INDEX} is missing); create one with "
            "python -m training.prepare"
        )
    try:
        return _to_index(read_json(path, MAX_INDEX_BYTES))
    except InputFileError as error:
        raise UsageError(f"{error}; {AGAIN}") from error
    except ValueError as error:
        raise UsageError(f"{path} is defective: {error}; {AGAIN}") from error


def _to_index(document: Any) -> Index:
    """The index in a JSON document; a ValueError if it is not one."""
    from rgbd_seg_ros.bundle_json import labels_from_json

    if not isinstance(document, dict):
        raise ValueError(f"expected an object, got {shown(document)}")
    if document.get("format") != FORMAT:
        raise ValueError(f"it has format {shown(document.get('format'))}, expected {FORMAT}")
    for key, kind in INDEX_KEYS.items():
        if type(document.get(key)) is not kind:
            raise ValueError(f"{key} must be {kind.__name__}, got {shown(document.get(key))}")
    labels = labels_from_json(document.get("label_set"))
    scale, quantity = (document["depth"].get(key) for key in ("scale_m", "quantity"))
    if not _is_numbers([scale], 1) or not 0 < scale < math.inf or not isinstance(quantity, str):
        raise ValueError(f"depth must have scale_m and quantity, got {shown(document['depth'])}")
    return Index(
        document["dataset"],
        labels,
        float(scale),
        quantity,
        document["options"],
        document["source"],
        document["val_fraction"],
        document["fingerprint"],
        tuple(map(to_record, document["frames"])),
    )


def to_record(values: Any) -> Record:
    """A record from its JSON values.

    Raises:
        ValueError: a value is missing or wrong. For example, the name is not the plain name of a
            file, so that it may lead out of the folder.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a frame must be an object, got {shown(values)}")
    name = values.get("name")
    if not isinstance(name, str) or not name or Path(name).name != name or "\0" in name:
        raise ValueError(f"a frame has the name {shown(name)}, which is not a plain file name")
    for key, (fits, what) in RECORD_VALUES.items():
        if not fits(values.get(key)):
            raise ValueError(f"frame {name}: {key} must be {what}, got {shown(values.get(key))}")
    known: dict[str, Any] = {key: values.get(key) for key in RECORD_VALUES}
    return Record(name, **{k: tuple(v) if isinstance(v, list) else v for k, v in known.items()})


def read_journal(path: Path) -> tuple[str | None, list[Record]]:
    """Fingerprint and records of an unfinished preparation; none if the first line is damaged.

    The frames of other damaged lines, such as one cut off by an interruption, are written again.

    Raises:
        InputFileError: the file cannot be read.
    """
    lines = read_regular_file(path, MAX_INDEX_BYTES).split(b"\n")
    records, fingerprint = [], None
    for number, line in enumerate(lines):
        try:
            value = parse_json(line, str(path))
            if number:
                records.append(to_record(value))
            else:
                fingerprint = value["fingerprint"]
        except (ValueError, TypeError, LookupError):
            continue
    return (fingerprint, records) if isinstance(fingerprint, str) else (None, [])


def _is_numbers(value: Any, count: int) -> bool:
    good = isinstance(value, list) and all(type(v) in (int, float) for v in value)
    return good and len(value) == count


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_size(value: Any) -> bool:
    return _is_numbers(value, 2) and all(_is_count(v) and v for v in value)


def _is_of_folders(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and {*value} == {*FOLDERS} and all(map(fits, value.values()))


def _is_pixels(value: Any) -> bool:
    return isinstance(value, dict) and all(
        key.isdecimal() and len(key) <= 3 and _is_count(count) for key, count in value.items()
    )


#: Value of a record other than its name → its check, and what is allowed.
RECORD_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "group": (lambda v: isinstance(v, str), "text"),
    "split": (lambda v: v in SPLITS, f"one of {', '.join(SPLITS)}"),
    "size": (_is_size, "height and width"),
    "bytes": (lambda v: _is_of_folders(v, _is_count), f"the sizes of {', '.join(FOLDERS)}"),
    "sha256": (
        lambda v: _is_of_folders(v, lambda text: isinstance(text, str)),
        f"the hashes of {', '.join(FOLDERS)}",
    ),
    "intrinsics": (lambda v: v is None or _is_numbers(v, 4), "null or fx, fy, cx, cy"),
    "gravity": (lambda v: v is None or _is_numbers(v, 3), "null or a vector of 3 numbers"),
    "pixels": (lambda v: v is None or _is_pixels(v), "null or a count per class id"),
    "unusable": (
        lambda v: (
            v is None
            or (
                isinstance(v, dict)
                and all(isinstance(t, str) for t in v.values())
                and {*v} <= {"rgb", "depth"}
            )
        ),
        "null or the reason per kind of image",
    ),
}


def assign_splits(
    names: list[str], groups: list[str], splits: list[str | None], val_fraction: float
) -> list[str]:
    """The split of each frame: the published one, or one held out by groups.

    Whole groups are held out, because neighbors in a video and crops of one scene are almost
    identical. The choice depends only on the hashes of their names. If no ``test`` split is
    published, it is held out first.

    Args:
        names: names of the frames.
        groups: group of each frame.
        splits: published split of each frame, or None.
        val_fraction: share of the training groups that each missing split receives.

    Raises:
        UsageError: the training split has only one group.
    """
    result = [split or "train" for split in splits]
    missing = [s for s in ("test", "val") if s not in splits]
    for split in missing:
        rest = sorted({g for g, s in zip(groups, result, strict=True) if s == "train"})
        if len(rest) < 2:
            raise UsageError(
                f"cannot hold out a {split} split: the training split has only one group of "
                f"frames ({rest[0] if rest else 'none'})"
            )
        _, held = hold_out(rest, val_fraction)
        chosen = set(held)
        result = [
            split if s == "train" and g in chosen else s
            for g, s in zip(groups, result, strict=True)
        ]
    return result


class PreparedSamples:
    """One split of a prepared dataset."""

    def __init__(self, root: Path, split: str) -> None:
        from training.data.description import description_of
        from training.data.folder import FolderSamples

        index = read_index(root)
        self.records = [r for r in index.records if r.split == split]
        self.label_set = index.label_set
        for folder in FOLDERS:
            sizes = {p.stem: p.stat().st_size for p in (root / folder).glob("*.png")}
            wrong = [r.name for r in self.records if sizes.get(r.name) != r.bytes[folder]]
            if wrong:
                raise UsageError(
                    f"{root}/{folder}: {len(wrong)} of {len(self.records)} files are missing or "
                    f"changed, for example {wrong[0]}.png; run training.prepare again"
                )
        names = [r.name for r in self.records]
        self._folder = FolderSamples(
            root,
            description_of(index.label_set, index.depth_scale),
            {folder: {n: root / folder / f"{n}.png" for n in names} for folder in FOLDERS},
            names,
        )
        self.notes = tuple(
            f"{split}: {line}"
            for line in describe_unusable({r.name: r.unusable or {} for r in self.records})
        )

    def __len__(self) -> int:
        return len(self.records)

    def label_counts(self, index: int) -> npt.NDArray[np.int64] | None:
        """Pixels of each class, then unlabeled pixels, of one sample; None if not stored.

        Counts of a class that the label set does not have are not used: the image decides.
        """
        counts = np.zeros(len(self.label_set) + 1, np.int64)
        for class_id, count in (self.records[index].pixels or {}).items():
            if IGNORE_ID != int(class_id) >= len(self.label_set):
                return None
            counts[-1 if int(class_id) == IGNORE_ID else int(class_id)] = count
        return counts if self.records[index].pixels is not None else None

    def __getitem__(self, index: int) -> Sample:
        record = self.records[index]
        camera = gravity = None
        if record.intrinsics is not None:
            fx, fy, cx, cy = record.intrinsics
            camera = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
        if record.gravity is not None:
            gravity = np.array(record.gravity, np.float32)
        return dataclasses.replace(self._folder[index], intrinsics=camera, gravity=gravity)


def open_prepared(root: str, split: str) -> PreparedSamples:
    """Open one split of the prepared dataset in ``root``.

    Raises:
        UsageError: no folder, no index, or files that do not match the index.
    """
    if not root:
        raise UsageError("dataset 'prepared' needs its folder: --root DIR")
    return PreparedSamples(Path(root), split)


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
