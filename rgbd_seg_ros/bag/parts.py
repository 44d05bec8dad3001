# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Finds the files that make up a recording, whether or not its metadata.yaml fits them."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rgbd_seg_ros.bag.sqlite_storage import JOURNALS
from rgbd_seg_ros.bag.storage import BagError
from rgbd_seg_ros.bag.unpack import compare_with_copy

#: File name suffixes of rosbag2 storage, and of the same compressed as a whole.
STORAGE_SUFFIXES = (".mcap", ".db3")
COMPRESSED_SUFFIXES = (".zstd", ".zst")
ROS1_SUFFIXES = (".bag", ".bag.active")
METADATA = "metadata.yaml"
#: A larger metadata.yaml is not read, bytes.
MAX_METADATA = 2**24
#: The number of a part in its name, and the time that `rosbag record` adds.
_PART = re.compile(r"_(?:0|[1-9]\d{0,4})$")
_TIME = re.compile(r"_?\d{4}(-\d\d){5}$")
#: A time whose last number is no part's.
_TIME_ALONE = re.compile(r"\d{4}([-_]\d\d){5}$")


@dataclass
class Parts:
    """The files to read, in the order of their names, and what is known about the others."""

    files: list[Path]
    #: Files of the folder that metadata.yaml does not list; they are read unless they cover the
    #: same time as a listed one.
    unlisted: list[Path] = field(default_factory=list)
    #: Files that metadata.yaml lists and that are not there.
    missing: list[str] = field(default_factory=list)
    #: Number of messages according to metadata.yaml; None if unknown.
    message_count: int | None = None
    notes: list[str] = field(default_factory=list)
    #: Parts that are missing according to the numbers of the others.
    gaps: list[str] = field(default_factory=list)


def find_parts(path: Path) -> Parts:
    """The files of the recording at a path that the user gave.

    Args:
        path: a rosbag2 directory, a folder with the parts of a ROS 1 recording, or one file.

    Raises:
        BagError: there is no recording at the path, or there are several.
    """
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        return _in_folder(path)
    if not stat.S_ISREG(mode):
        raise BagError(f"{path} is {_kind(mode)}; pass a rosbag2 directory or a bag file")
    if path.name == METADATA:
        return _in_folder(path.parent)
    if not path.stat().st_size and not _has_journal(path):
        raise BagError(f"{path} is empty (0 bytes); record it again")
    return Parts([path])


def without_compression(name: str) -> str:
    """A file name without the suffix of whole-file compression."""
    for suffix in COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def is_regular(path: Path) -> bool:
    """Whether a path leads to a file with content, not to a pipe, device or folder."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        raise BagError(
            f"there is no bag at {path}; pass a rosbag2 directory or a .bag file"
        ) from None
    except (OSError, ValueError) as error:  # a loop of links, no permission, a null character
        raise _cannot_read(path, error) from error


def _cannot_read(path: Path, error: Exception) -> BagError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    remedy = "; grant read permission" if isinstance(error, PermissionError) else ""
    return BagError(f"cannot read {path}: {reason}{remedy}")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_ISFIFO: "a named pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((kind for test, kind in kinds.items() if test(mode)), "not a file")


def _has_journal(path: Path) -> bool:
    return any(
        is_regular(file) and file.stat().st_size
        for file in (path.with_name(path.name + suffix) for suffix in JOURNALS)
    )


def _in_folder(folder: Path) -> Parts:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _cannot_read(folder, error) from error
    files = [p for p in entries if without_compression(p.name).endswith(STORAGE_SUFFIXES)]
    metadata, notes = None, []
    if any(p.name == METADATA for p in entries):
        try:
            metadata = _read_metadata(folder / METADATA)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            notes.append(f"{METADATA} is ignored: {reason}")
    bags = [p for p in entries if p.name.endswith(ROS1_SUFFIXES)]
    if not files:
        if bags and metadata is None:
            _check_one_recording(folder, bags, "ROS 1")
            notes += _joined(bags)
            return Parts(bags, gaps=_gaps(bags), notes=notes)
        raise _no_bag(folder, entries, metadata)
    chosen = _without_copies(files, notes)
    if bags:
        names_of_bags = ", ".join(path.name for path in bags[:3])
        notes.append(f"not read, since the folder is a ROS 2 bag: {names_of_bags}; pass it alone")
    if metadata is None:
        _check_one_recording(folder, chosen, "ROS 2")
        notes += _joined(chosen)
        return Parts(chosen, gaps=_gaps(chosen), notes=notes)
    names, count = metadata
    return _listed(folder, chosen, names, count, notes)


def _no_bag(folder: Path, entries: list[Path], metadata: object) -> BagError:
    kinds = " or ".join(f"*{suffix}" for suffix in STORAGE_SUFFIXES)
    if metadata is not None:
        return BagError(
            f"{folder} contains {METADATA}, but its {kinds} files are missing; copy them there"
        )
    bags = [p.name for p in entries if p.is_dir() and _holds_bag(p)]
    hint = f"; it contains bags, pass one of them: {', '.join(bags[:5])}" if bags else ""
    kinds = f"*{ROS1_SUFFIXES[0]}, {kinds}"
    return BagError(f"{folder} is not a bag: it contains no {METADATA} and no {kinds} files{hint}")


def _holds_bag(folder: Path) -> bool:
    suffixes = (METADATA, *STORAGE_SUFFIXES, *ROS1_SUFFIXES)
    try:
        return any(without_compression(p.name).endswith(suffixes) for p in folder.iterdir())
    except OSError:
        return False


def _recording(file: Path) -> str:
    """What the names of all parts of a split recording have in common, and no other name has."""
    name, *suffixes = without_compression(file.name.removesuffix(".active")).rsplit(".", 1)
    if _PART.search(name) and not _TIME_ALONE.search(name):
        # `rosbag record` adds the time of each part to its name.
        name = f"{_TIME.sub('', _PART.sub('', name))}_#"
    return ".".join([name, *suffixes])


def _part_number(file: Path) -> int | None:
    """The number of a part in its name; None if it has none."""
    bare = without_compression(file.name.removesuffix(".active")).rsplit(".", 1)[0]
    match = None if _TIME_ALONE.search(bare) else _PART.search(bare)
    return None if match is None else int(match[0][1:])


def _joined(files: list[Path]) -> list[str]:
    """A line if several files are read as one recording only because of their names.

    The names that recorders choose have a time before the number of the part.
    """
    by_recorder = all(
        _part_number(file) is not None
        and _TIME_ALONE.search(_PART.sub("", without_compression(file.name).split(".")[0]))
        for file in files
    )
    if len(files) < 2 or by_recorder:
        return []
    return [
        f"{len(files)} files are read as one recording, by their names: {_named(files)}; if "
        "they are several, pass one of them"
    ]


def _named(files: list[Path]) -> str:
    """The names of the first files, and the number of the others."""
    more = f", and {len(files) - 8} more" if len(files) > 8 else ""
    return ", ".join(file.name for file in files[:8]) + more


def _check_one_recording(folder: Path, files: list[Path], kind: str) -> None:
    """Refuse files that are not the parts of one split recording.

    Raises:
        BagError: they are several recordings.
    """
    numbers = [number for file in files if (number := _part_number(file)) is not None]
    if len({_recording(file) for file in files}) > 1 or len(set(numbers)) < len(numbers):
        raise BagError(
            f"{folder} contains several {kind} recordings; pass one of them: {_named(files)}"
        )


def _gaps(files: list[Path]) -> list[str]:
    """The parts that are missing between the first and the last of one split recording."""
    parts: dict[tuple[str, str], dict[int, Path]] = {}
    for file in files:
        name, *suffixes = without_compression(file.name).split(".")
        if match := _PART.search(name):
            # `rosbag record` adds the time of each part to its name.
            key = _TIME.sub("", name[: match.start()]), ".".join(suffixes)
            parts.setdefault(key, {})[int(match[0][1:])] = file
    return [
        f"{name}_{number}.{suffix}"
        for (name, suffix), found in parts.items()
        for number in range(min(found), max(found))
        if len(found) > 1 and number not in found and max(found) - min(found) <= 2 * len(found)
    ]


def _without_copies(files: list[Path], notes: list[str]) -> list[Path]:
    """One file of each name: of a compressed file and its unpacked copy, the one with more of it.

    Args:
        files: sorted, so that ``x.db3`` comes before ``x.db3.zstd``.
        notes: gets a sentence for each file that is left out.
    """
    chosen: dict[str, Path] = {}
    for file in files:
        name = without_compression(file.name)
        if name not in chosen:
            chosen[name] = file
            continue
        other = chosen[name]
        better, why = _better_copy(file, other)
        chosen[name] = better
        left_out = other if better == file else file
        notes.append(f"{left_out.name} is not read, since {better.name} {why}")
    return list(chosen.values())


def _better_copy(packed: Path, plain: Path) -> tuple[Path, str]:
    """Which of a compressed and an unpacked file to read, and why, to follow its name."""
    if plain.name.endswith(COMPRESSED_SUFFIXES):  # x.zst and x.zstd
        return plain, "has the same name"
    try:
        found = compare_with_copy(packed, plain)
    except (OSError, BagError) as error:
        return plain, f"has the same name; the two could not be compared: {error}"
    if found.damage is None and found.equal == found.content == found.other:
        return plain, "has the same content"
    if found.equal == found.other < found.content:
        return packed, (
            f"has the same {found.other} bytes and {found.content - found.other} more, so "
            f"{plain.name} is incomplete; unpack it again"
        )
    if found.equal == found.content:
        damaged = f", and {packed.name} {found.damage}" if found.damage else ""
        return plain, f"has the same content and {found.other - found.content} bytes more{damaged}"
    better = packed if found.content > found.other else plain
    return better, (
        f"is the larger of the two, which differ from byte {found.equal} on; remove the wrong one"
    )


def _listed(
    folder: Path, files: list[Path], names: list[str], count: int | None, notes: list[str]
) -> Parts:
    """Match the files of a folder with the names in its metadata.yaml."""
    # Only the last part of a listed name counts, so that nothing outside the folder is read.
    wanted = {without_compression(name): name for name in names}
    by_name = {without_compression(file.name): file for file in files}
    missing = [name for bare, name in wanted.items() if bare not in by_name]
    found = [by_name[bare] for bare in wanted if bare in by_name]
    for bare, name in wanted.items():
        if bare in by_name and by_name[bare].name != name:
            notes.append(f"{by_name[bare].name} is read in place of {name}, listed in {METADATA}")
    unlisted = [file for file in files if file not in found]
    if not found:
        _check_one_recording(folder, unlisted, "ROS 2")
    if missing and len(unlisted) >= len(missing):
        # Renamed files: their number fits, and nothing else could have those names.
        old, new = ", ".join(missing), ", ".join(file.name for file in unlisted)
        notes.append(f"{METADATA} lists {old}, which is not there; {new} is read instead")
        return Parts(sorted([*found, *unlisted]), [], [], count, notes)
    if not found:
        notes += _joined(unlisted)
        return Parts(unlisted, [], missing, count, notes)
    own = {_recording(file) for file in found}
    numbers = {number for file in found if (number := _part_number(file)) is not None}
    for file in list(unlisted):
        reason = "its name is not that of the listed files"
        if _recording(file) in own:
            if _part_number(file) not in numbers:
                continue
            reason = f"a listed file is part {_part_number(file)} as well"
        unlisted.remove(file)
        notes.append(
            f"{file.name} is not read: {METADATA} does not list it, and {reason}; pass it alone"
        )
    return Parts(found, unlisted, missing, count, notes)


def _read_metadata(path: Path) -> tuple[list[str], int | None]:
    """Names of the files and number of messages; raises ``ValueError`` if it is not metadata."""
    import yaml

    if not is_regular(path):
        raise ValueError("it is not a file")
    if path.stat().st_size > MAX_METADATA:
        raise ValueError(f"it has {path.stat().st_size} bytes; at most {MAX_METADATA} are read")
    try:
        data = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    # PyYAML raises many kinds of errors for values such as `!!int ''` or `!!bool x`.
    except (
        *(yaml.YAMLError, ValueError, RecursionError),
        *(ArithmeticError, TypeError, LookupError, AttributeError),
    ) as error:
        text = " ".join(str(error).split())[:120]
        raise ValueError(f"it is not YAML ({text})") from error
    content: Any = data.get("rosbag2_bagfile_information") if isinstance(data, dict) else None
    paths = content.get("relative_file_paths") if isinstance(content, dict) else None
    if not isinstance(paths, list) or not all(isinstance(p, str) and p for p in paths):
        raise ValueError("it lists no files (relative_file_paths)")
    names = [name for p in paths if (name := PurePosixPath(p).name)]
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise ValueError(f"it lists {repeated[0]} twice")
    count = content.get("message_count")
    valid = isinstance(count, int) and not isinstance(count, bool) and count >= 0
    return names, count if valid else None


def describe_open_error(path: Path, error: OSError) -> BagError:
    """The error for a file that the operating system does not open."""
    return _cannot_read(Path(os.fspath(path)), error)
