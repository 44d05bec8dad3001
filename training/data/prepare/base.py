# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RawDataset, the base class of all official datasets, and helpers to read their files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.depth import PLAUSIBLE_M
from rgbd_seg_ros.labels import LabelSet
from training.data.checks import SAMPLED
from training.options import UsageError


@dataclass(frozen=True)
class Entry:
    """A frame of a dataset, before its images are read."""

    #: Unique, and valid as a file name.
    name: str
    #: Frames of one group always share a split: a scene, a flight, the crops of a scene.
    group: str
    #: ``train``, ``val`` or ``test`` if published, else None.
    split: str | None
    #: What the dataset needs to find the images.
    key: Any


@dataclass(frozen=True, eq=False)
class FrameData:
    """Images and calibration of a frame in the units of this project."""

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
    """The official files of one dataset. A subclass finds and checks them and sets the attributes.

    Args:
        root: folder with the official files.
        options: an instance of :attr:`options_class`.
        partial: accept fewer frames or other image sizes than were published.

    Raises:
        UsageError: a file is missing or defective.
    """

    #: Name of the dataset.
    name: ClassVar[str]
    #: Web page with the official files.
    page: ClassVar[str]
    #: Dataclass of the dataset's own options.
    options_class: ClassVar[type]
    #: Meaning of the 16-bit depth PNG, shown in the data card.
    quantity: ClassVar[str] = "metric depth"
    #: Plausible range of the median depth in meters; outside it, the unit must be wrong.
    plausible_m: ClassVar[tuple[float, float]] = PLAUSIBLE_M
    #: Whether :attr:`expected` is the publisher's count (a mismatch is an error) or a paper's.
    expected_is_official: ClassVar[bool] = True

    #: Whether the user must name a folder of official files.
    needs_source: ClassVar[bool] = True
    #: Frames that are read to check the depth and to estimate the space.
    sampled: ClassVar[int] = SAMPLED
    #: Frames read before their files are written; an interruption loses at most this many.
    chunk: ClassVar[int] = 16

    label_set: LabelSet
    #: Meters per tick of the depth PNG that is written.
    depth_scale: float = 0.001
    #: Meters per unit of the stored depth as set by ``--depth-unit``; 0 without that option.
    depth_unit: float = 0.0
    #: Number of frames of the complete dataset: per split, or ``all``.
    expected: Mapping[str, int]
    #: Files that identify this copy of the data; the index lists their names, sizes and hashes.
    files: list[Path]

    def __init__(self, root: Path, options: Any, partial: bool) -> None:
        raise NotImplementedError

    def entries(self) -> list[Entry]:
        """All frames in a fixed order."""
        raise NotImplementedError

    def read(self, entry: Entry) -> FrameData:
        """Read the images and calibration of a frame.

        Raises:
            ImageFileError: an image file is missing, truncated, or not an image.
            UsageError: another file is missing or defective, or a value is not allowed.
        """
        raise NotImplementedError

    def read_each(self, entries: Sequence[Entry]) -> Iterator[FrameData]:
        """Read frames in order; a dataset may do so in parallel."""
        return map(self.read, entries)

    @property
    def fingerprint_options(self) -> dict[str, Any] | None:
        """The options that determine the images, if not all of them do.

        If it is given, an earlier preparation of fewer frames is continued.
        """
        return None

    def finished(self, out: Path) -> dict[str, str]:
        """Name → text of further files of a complete preparation in ``out``."""
        return {}

    def edited(self, entry: Entry) -> Sequence[Path]:
        """Files of a frame that users edit; if one is newer, the frame is prepared again."""
        return ()


def need(root: Path, names: Iterable[str], page: str) -> None:
    """Check that files and folders exist below ``root``.

    Raises:
        UsageError: some are missing; one line names all of them and the official page.
    """
    if not root.is_dir():
        raise UsageError(f"--source {root} is not a folder; it must contain the files from {page}")
    missing = [name for name in names if not (root / name).exists()]
    if not missing:
        return
    raise UsageError(f"{root} lacks {', '.join(missing)}{packed(root)}; official page: {page}")


def packed(folder: Path) -> str:
    """``; unpack A.zip first`` if an incomplete folder contains archives, else an empty string."""
    zips = sorted(p.name for p in folder.glob("*.zip"))
    return f"; unpack {', '.join(zips)} first" if zips else ""


def open_hdf5(path: Path) -> Any:
    """Open an HDF5 file (also a MATLAB v7.3 .mat file) for reading."""
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
            f"{path} is truncated or not an HDF5 file ({path.stat().st_size} bytes): download it "
            f"again ({' '.join(str(error).split())})"
        ) from error


def load_mat(path: Path, *keys: str) -> dict[str, Any]:
    """Variables of a MATLAB file up to v7, squeezed; ``keys`` must be among them.

    Raises:
        UsageError: the file is truncated, has another format, or lacks a variable.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UsageError(
            f"{path.name} needs scipy: pip install scipy (or pip install -e '.[data]')"
        ) from error
    try:
        found = loadmat(str(path), squeeze_me=True, struct_as_record=False)
    except (
        Exception
    ) as error:  # scipy raises TypeError, ValueError, EOFError, zlib.error and others
        raise UsageError(
            f"{path} is truncated or not a MATLAB file ({path.stat().st_size} bytes): download it "
            f"again ({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error
    for key in keys:
        if key not in found:
            have = ", ".join(sorted(k for k in found if not k.startswith("__"))) or "nothing"
            raise UsageError(f"{path} has no variable {key!r}, only {have}: is it the right file?")
    return found


def hdf5_array(file: Any, path: Path, key: str, ndim: int) -> Any:
    """An array (dataset) of an HDF5 file by key; it must have ``ndim`` axes."""
    if key not in file:
        have = ", ".join(sorted(file)) or "nothing"
        raise UsageError(f"{path} has no {key!r}, only {have}: is it the right file?")
    found = file[key]
    if found.ndim != ndim:
        raise UsageError(f"{path}: {key} has shape {found.shape}, expected {ndim} axes")
    return found


def matlab_string(file: Any, reference: Any) -> str:
    """The string (UTF-16 codes) that an object reference of a v7.3 cell array points to."""
    return "".join(chr(int(c)) for c in np.asarray(file[reference]).ravel())


def class_ids(
    raw: npt.NDArray[Any], table: npt.NDArray[np.uint8], where: str
) -> npt.NDArray[np.uint8]:
    """Convert published label values to class ids with a table, in which 255 means unlabeled.

    Raises:
        UsageError: a value beyond the table; ``where`` names the file in the message.
    """
    if raw.size and int(raw.max()) >= len(table):
        raise UsageError(
            f"{where} contains label {int(raw.max())}, allowed are 0..{len(table) - 1}: "
            "does it use another class list?"
        )
    return table[raw]
