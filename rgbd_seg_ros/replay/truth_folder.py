# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth from a folder of class-id images that are named by their stamps."""

from __future__ import annotations

import bisect
import re
from pathlib import Path

import numpy as np

from rgbd_seg_ros.frames import Frame
from rgbd_seg_ros.image_io import ImageFileError, read_single_channel

_NAME = re.compile(r"(?:.*_)?(\d{1,19})\.png", re.IGNORECASE)


class TruthError(ValueError):
    """Ground truth that cannot be used; the message names the file and the remedy."""


class TruthFolder:
    """Ground-truth masks, read one at a time when a mask needs them.

    Args:
        path: folder of images of class ids with 8 bits, 255 for unlabeled pixels, named
            ``STAMP.png`` or ``ANYTHING_STAMP.png`` with the stamp in nanoseconds, as in the
            ``masks`` that a replay writes.

    Raises:
        TruthError: the folder cannot be read, has no such image, or two with the same stamp.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[int, Path] = {}
        try:
            files = sorted(path.iterdir())
        except OSError as error:
            raise TruthError(f"--truth {path}: {error.strerror}; name a folder") from error
        for file in files:
            if match := _NAME.fullmatch(file.name):
                stamp = int(match[1])
                if stamp in self._files:
                    raise TruthError(
                        f"{self._files[stamp]} and {file.name} have the same stamp; remove one"
                    )
                self._files[stamp] = file
        if not self._files:
            raise TruthError(
                f"--truth {path} has no image named STAMP.png or NAME_STAMP.png, with the stamp "
                "in nanoseconds"
            )
        self._stamps = sorted(self._files)
        #: Stamps of the images that belonged to a mask.
        self.used: set[int] = set()

    def __len__(self) -> int:
        return len(self._stamps)

    def first(self) -> Frame:
        """The mask with the first stamp.

        Raises:
            TruthError: the file is not an image of class ids.
        """
        return self._read(self._stamps[0])

    def nearest(self, stamp_ns: int, window_ns: int) -> Frame | None:
        """The mask with the nearest stamp, at most ``window_ns`` away; the earlier one of two.

        Raises:
            TruthError: the file is not an image of class ids.
        """
        index = bisect.bisect_left(self._stamps, stamp_ns)
        near = self._stamps[max(index - 1, 0) : index + 1]
        stamp = min(near, key=lambda s: abs(s - stamp_ns))
        if abs(stamp - stamp_ns) > window_ns:
            return None
        self.used.add(stamp)
        return self._read(stamp)

    def _read(self, stamp: int) -> Frame:
        file = self._files[stamp]
        try:
            array = read_single_channel(file)
        except ImageFileError as error:
            raise TruthError(str(error)) from error
        if array.dtype != np.uint8:
            raise TruthError(f"{file} has {array.dtype} values; class ids need 8 bits")
        return Frame(array, stamp)
