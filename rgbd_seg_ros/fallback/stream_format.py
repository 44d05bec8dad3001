# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The format of a stream's images, and from when on a change of it is accepted."""

from __future__ import annotations

from typing import Any

import numpy as np

from rgbd_seg_ros.frames import AnyFrame, CompressedFrame, Frame, Stream


class StreamFormat:
    """Shape, pixel type and encoding of a stream's images.

    A single image of another format is a mistake or an attack, and several in a row are a camera
    with new settings. Of an undecoded image, only the size is known. It is tested so that a huge
    image between good ones is never decoded.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        #: Shape, dtype and encoding of the last accepted image; None before the first.
        self.value: tuple[Any, ...] | None = None
        self._new_value: tuple[Any, ...] | None = None
        self._new_value_run = 0
        #: The same for sizes of undecoded images that differ from the format's.
        self._new_size: tuple[int, int] | None = None
        self._new_size_run = 0

    def check(self, frame: AnyFrame, accept_change_after: int) -> str | None:
        """Why the frame cannot be used (or need not be decoded), in one line; None if it can.

        Args:
            frame: the next frame of the stream. A compressed frame is checked undecoded, and
                again as a Frame once it is decoded.
            accept_change_after: length of a run of equal new formats that is accepted; 0: never.
        """
        if isinstance(frame, CompressedFrame):
            return self._check_size(frame, accept_change_after)
        array = frame.array
        if not self._is_image(frame):
            self.interrupt()
            return f"an array of {array.dtype} {array.shape} is no image"
        value = (*array.shape, array.dtype.str, frame.encoding)
        if self.value is None or value == self.value:
            self._new_value_run = 0
        else:
            self._new_value_run = self._new_value_run + 1 if value == self._new_value else 1
            self._new_value = value
            run = self._new_value_run
            if frame.size == self._new_size:  # counted before they were decoded
                run = max(run, self._new_size_run)
            if not 0 < accept_change_after <= run:
                return _changed("format", _text(self.value), _text(value), accept_change_after)
            self._new_value_run = 0
        self.value = value
        return None

    def interrupt(self) -> None:
        """End a run of a new format, because an image between was none at all."""
        self._new_value_run = 0

    def _is_image(self, frame: Frame) -> bool:
        array = frame.array
        if 0 in array.shape:
            return False
        if self._stream == "rgb":
            return array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
        return array.ndim == 2 and (array.dtype == np.uint16 or array.dtype.kind == "f")

    def _check_size(self, frame: CompressedFrame, accept_change_after: int) -> str | None:
        if self.value is None or frame.size == self.value[:2]:
            self._new_size_run = 0
            return None
        self._new_size_run = self._new_size_run + 1 if frame.size == self._new_size else 1
        self._new_size = frame.size
        if 0 < accept_change_after <= self._new_size_run:
            return None
        before, after = _text(self.value[:2]), _text(frame.size)
        return _changed("size", before, after, accept_change_after)


def _text(value: tuple[Any, ...]) -> str:
    """``640×480``, or ``640×480 rgb8`` for a whole format."""
    height, width = value[:2]
    return " ".join([f"{width}×{height}", *map(str, value[-1:] if len(value) > 2 else ())])


def _changed(what: str, before: str, after: str, accept_change_after: int) -> str:
    if before == after:
        after = f"{after} with other values"
    run = accept_change_after
    accepted = f"; {run} in a row are accepted" if run else ""
    return f"its {what} changed from {before} to {after}{accepted}"
