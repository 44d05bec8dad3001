# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Split lists: text files that name the samples of train, val and test, as tools write them."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from rgbd_seg_ros.files import MAX_LINES_BYTES, InputFileError, read_regular_file
from rgbd_seg_ros.image_io import SUFFIXES
from rgbd_seg_ros.names import did_you_mean
from training.data.sample import SPLITS
from training.options import UsageError

#: File names of lists, without ``.txt`` and in any case → split.
LIST_NAMES = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test"},
}
#: Folders of lists: the dataset's own, and that of PASCAL VOC and its exports.
LIST_FOLDERS = (".", "ImageSets/Segmentation")
#: Suffixes of lists that people and tools write; only ``.txt`` is read.
LIST_SUFFIXES = (".txt", ".lst", ".list", ".csv", ".json")
_LIST_FOLDER = re.compile(r"(?i)(?:splits?|lists?|imagesets)$")
_WORDS = r"(?:list|split|set|files?|ids?|names?|images?)"
_LIKE_A_LIST = re.compile(rf"(?i)(?:{_WORDS}[-_ ]?)?(?:{'|'.join(LIST_NAMES)})(?:[-_ ]?{_WORDS})?")
#: Byte order marks, the longest first, and the encodings that they mean.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_SUFFIX = "|".join(sorted(re.escape(suffix) for suffix in {*SUFFIXES, ".json", ".npy"}))
#: A file name up to its suffix; whatever separates it from the next one follows.
_FILE = re.compile(rf"(.+?(?:{_SUFFIX}))(?:[\s,;]+|$)", re.IGNORECASE)


def find_lists(root: Path) -> dict[str, Path]:
    """Split → its list in a dataset's folder.

    Raises:
        UsageError: a split has two lists.
    """
    found: dict[str, Path] = {}
    for path in _text_files(root):
        split = LIST_NAMES.get(path.stem.lower())
        if split is None:
            continue
        if split in found:
            raise UsageError(
                f"{found[split]} and {path} both list the {split} split; keep one of them"
            )
        found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


def unused_lists(root: Path) -> list[Path]:
    """Files that look like lists but are not read.

    These are files in ``ImageSets/Segmentation`` that list no split, such as CVAT's
    ``default.txt``, and files named like lists of splits, such as ``train_list.txt``,
    ``train.csv`` or ``splits/train.txt``.
    """
    read = [path for path in _text_files(root) if path.stem.lower() in (*LIST_NAMES, "trainval")]
    folders = [root, *(p for p in root.iterdir() if p.is_dir() and _LIST_FOLDER.match(p.name))]
    folders += [p for folder in folders[1:] for p in folder.iterdir() if p.is_dir()]
    named = [
        path
        for folder in folders
        for path in folder.iterdir()
        if path.suffix.lower() in LIST_SUFFIXES and _LIKE_A_LIST.fullmatch(path.stem)
    ]
    others = [path for path in _text_files(root) if path.parent != root]
    return sorted({*others, *named}.difference(read))


def _text_files(root: Path) -> list[Path]:
    folders = []
    for folder in LIST_FOLDERS:
        found = [root]
        for part in Path(folder).parts:  # names in any case
            found = [p for f in found for p in f.iterdir() if p.name.lower() == part.lower()]
            found = [p for p in found if p.is_dir()]
        folders += found
    return sorted(p for f in folders for p in f.iterdir() if p.suffix.lower() == ".txt")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, UTF-16 or UTF-32 or, if it is none of them, Windows-1252.

    Raises:
        UsageError: the file cannot be read or is not text.
    """
    try:
        data = read_regular_file(path, MAX_LINES_BYTES)
    except InputFileError as error:
        raise UsageError(str(error)) from error
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "")
    if not encoding and b"\0" in data:  # UTF-16 without a mark: one byte of ASCII letters is 0
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    for candidate in [encoding] if encoding else ["utf-8", "cp1252"]:
        try:
            return data.decode(candidate)
        except UnicodeDecodeError:
            continue
    raise UsageError(f"{path} is not a text file ({len(data)} bytes); save it as UTF-8")


def read_list(
    path: Path,
    names: Iterable[str],
    find: Callable[[str], str | None] = lambda text: None,
    explain: Callable[[str], str] = lambda text: "",
) -> list[str]:
    """The samples that a list names, each once, in the order of the list.

    A line holds one name, which may contain spaces, with or without folder and suffix; or several
    files of one sample, as in the lists of CMX and DFormer (``RGB/0.jpg Label/0.png``). Empty
    lines and comments (``#``) do not count.

    Args:
        path: the list.
        names: the names of all samples.
        find: the sample that another text means, such as one of its files; or None.
        explain: why a text names no sample, or an empty string.

    Raises:
        UsageError: a line that names no sample, or two; the message gives its number.
    """
    known = {_normal(name): name for name in names}

    def sample(text: str) -> str | None:
        for spelling in _spellings(text):
            name = known.get(spelling) or find(spelling)
            if name is not None:
                return name
        return None

    chosen: dict[str, None] = {}
    for number, line in enumerate(re.split(r"\r\n|\r|\n", read_text(path)), 1):
        text = _normal(line.strip())
        if not text or (text.startswith("#") and text not in known):
            continue
        named = _named(text, sample)
        if len(named) == 1:
            chosen[named.pop()] = None
            continue
        if named:
            first, second = sorted(named)[:2]
            problem = f"names two samples, {first!r} and {second!r}; write one sample a line"
        else:
            hint = explain(_bare(text)) or did_you_mean(_bare(text), known)
            problem = f"no sample {text!r} among {len(known)} samples{hint}"
        raise UsageError(f"{path}, line {number}: {problem}")
    return list(chosen)


def _named(text: str, sample: Callable[[str], str | None]) -> set[str]:
    """The samples that a line names; an empty set if part of the line names none."""
    for parts in ([text], _FILE.findall(text), re.split(r"[\s,;]+", text)):
        found = [sample(part) for part in parts]
        if found and None not in found:
            return {name for name in found if name is not None}
    return set()


def _spellings(text: str) -> list[str]:
    """A name as it is, without its folder, without its suffix, and without both."""
    plain = text.replace("\\", "/")
    name = plain.rpartition("/")[2]
    return [text, name, re.sub(rf"(?i)(?:{_SUFFIX})$", "", plain), _bare(text)]


def _bare(text: str) -> str:
    name = text.replace("\\", "/").rpartition("/")[2]
    return re.sub(rf"(?i)(?:{_SUFFIX})$", "", name)


def _normal(name: str) -> str:
    """One spelling of accented letters: macOS stores them decomposed, lists usually do not."""
    return unicodedata.normalize("NFC", name)
