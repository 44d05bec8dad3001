# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every data set's module gives the writer, and how official files are opened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import LabelSet
from training.options import UsageError

#: Meters of a plausible median depth: a hand's length to the far end of a hall.
PLAUSIBLE_M = (0.3, 60.0)


@dataclass(frozen=True)
class Entry:
    """One frame, before its pictures are read."""

    #: Unique, and fit for a file name.
    name: str
    #: What must not be torn apart by a split: a scene, a flight, a scene's crops.
    group: str
    #: ``train``, ``val`` or ``test`` where the publisher says so, else None.
    split: str | None
    #: What the source needs to find the pictures.
    key: Any


@dataclass(frozen=True, eq=False)
class Picture:
    """What a frame holds."""

    #: H×W×3 uint8, RGB order.
    rgb: npt.NDArray[np.uint8]
    #: H×W meters, NaN invalid.
    depth_m: npt.NDArray[np.float32]
    #: H×W class ids 0..K-1, 255 unlabeled.
    labels: npt.NDArray[np.uint8]
    #: fx, fy, cx, cy in pixels.
    intrinsics: tuple[float, float, float, float] | None = None
    #: Unit vector pointing down in the optical frame.
    gravity: tuple[float, float, float] | None = None


class RawDataset:
    """The official files of one data set, found and checked. Subclasses set the attributes."""

    #: Name of the data set, and the page where its files are.
    name: ClassVar[str]
    page: ClassVar[str]
    #: What the 16-bit depth PNG holds, for people.
    quantity: ClassVar[str] = "metric depth"
    #: Median depth in meters below or above which the unit must be wrong.
    plausible_m: ClassVar[tuple[float, float]] = PLAUSIBLE_M
    #: Whether :attr:`expected` is the publisher's count (a mismatch is an error) or a paper's.
    expected_is_official: ClassVar[bool] = True

    label_set: LabelSet
    #: Meters per tick of the depth PNG that is written.
    depth_scale: float = 0.001
    #: Frames per split, or ``all``, of the complete data set.
    expected: Mapping[str, int]
    #: Files that identify this copy of the data; their names, sizes and hashes go to the index.
    files: list[Path]

    def entries(self) -> list[Entry]:
        """Every frame, in a fixed order."""
        raise NotImplementedError

    def read(self, entry: Entry) -> Picture:
        """The pictures of a frame.

        Raises:
            UsageError: a file is missing or defective, or holds what it must not.
        """
        raise NotImplementedError

    def edited(self, entry: Entry) -> Sequence[Path]:
        """Files of a frame that people may edit; it is prepared anew when one is newer."""
        return ()


def need(root: Path, names: Iterable[str], page: str) -> None:
    """Raise one line that names everything missing below ``root`` and where it is to be had."""
    if not root.is_dir():
        raise UsageError(f"--source {root} is no folder; it must hold the files from {page}")
    missing = [name for name in names if not (root / name).exists()]
    if not missing:
        return
    raise UsageError(f"{root} lacks {', '.join(missing)}{packed(root)}; official page: {page}")


def packed(folder: Path) -> str:
    """``; unpack A.zip first`` if there are archives in a folder that lacks something."""
    zips = sorted(p.name for p in folder.glob("*.zip"))
    return f"; unpack {', '.join(zips)} first" if zips else ""


def open_hdf5(path: Path) -> Any:
    """An HDF5 file (also MATLAB's v7.3 .mat) for reading."""
    try:
        import h5py
    except ImportError as error:
        raise UsageError(
            f"{path.name} needs h5py: pip install h5py (or pip install -e '.[data]')"
        ) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UsageError(
            f"{path} is truncated or no HDF5 file ({path.stat().st_size} bytes): download it "
            f"again ({' '.join(str(error).split())})"
        ) from error


def load_mat(path: Path, *keys: str) -> dict[str, Any]:
    """Variables of a MATLAB file up to v7, squeezed.

    Raises:
        UsageError: truncated, another format, or a variable is missing.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UsageError(
            f"{path.name} needs scipy: pip install scipy (or pip install -e '.[data]')"
        ) from error
    try:
        found = loadmat(str(path), squeeze_me=True, struct_as_record=False)
    except Exception as error:  # scipy lets TypeError, ValueError, EOFError, zlib.error … through
        raise UsageError(
            f"{path} is truncated or no MATLAB file ({path.stat().st_size} bytes): get it again "
            f"({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error
    for key in keys:
        if key not in found:
            have = ", ".join(sorted(k for k in found if not k.startswith("__"))) or "nothing"
            raise UsageError(f"{path} has no variable {key!r} but {have}: is it the right file?")
    return found


def dataset(file: Any, path: Path, key: str, ndim: int) -> Any:
    """An HDF5 data set by key, with the number of axes it must have."""
    if key not in file:
        have = ", ".join(sorted(file)) or "nothing"
        raise UsageError(f"{path} has no {key!r} but {have}: is it the right file?")
    found = file[key]
    if found.ndim != ndim:
        raise UsageError(f"{path}: {key} has shape {found.shape}, expected {ndim} axes")
    return found


def matlab_string(file: Any, reference: Any) -> str:
    """The string that an object reference of a v7.3 cell array points to (UTF-16 codes)."""
    return "".join(chr(int(c)) for c in np.asarray(file[reference]).ravel())


def read_picture(path: Path, channels: int | None = None) -> npt.NDArray[Any]:
    """A picture as stored; with ``channels`` 3 as RGB, with 1 as H×W.

    Raises:
        UsageError: missing, truncated or of another number of channels.
    """
    flag = cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_UNCHANGED
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    picture = None
    if data and not _cut_short(data):
        # Other defects: OpenCV returns nothing, or raises where even the size makes no sense.
        with contextlib.suppress(cv2.error):
            buffer = np.frombuffer(data, np.uint8)
            picture = cv2.imdecode(buffer, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise UsageError(
            f"{path} is truncated or no picture ({len(data)} bytes): unpack or download it again"
        )
    if channels == 3:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if channels == 1 and picture.ndim == 3:
        if not (picture == picture[..., :1]).all():
            raise UsageError(f"{path} is a color picture; one channel is expected")
        picture = np.ascontiguousarray(picture[..., 0])
    return picture


def _cut_short(data: bytes) -> bool:
    """Whether a PNG or JPEG has lost its end; OpenCV fills the rest in, or keeps it black."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    # Compressed data never holds the end marker, but a thumbnail in the first half may.
    return data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[len(data) // 2 :]


def class_ids(
    raw: npt.NDArray[Any], table: npt.NDArray[np.uint8], where: str
) -> npt.NDArray[np.uint8]:
    """Published label values → class ids by a table; 255 in the table is unlabeled.

    Raises:
        UsageError: a value beyond the table.
    """
    if raw.size and int(raw.max()) >= len(table):
        raise UsageError(
            f"{where} holds label {int(raw.max())}, allowed are 0..{len(table) - 1}: "
            "is it of another class list?"
        )
    return table[raw]
