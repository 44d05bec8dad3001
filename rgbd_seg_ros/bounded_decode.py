# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decodes a compressed image, with memory and time in proportion to the size it states."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.image_size import ImageHeader, UnusableImageError, is_truncated
from rgbd_seg_ros.png import with_pixels_only

#: Scans of a JPEG. A progressive one has about ten; each of them takes time for all pixels.
MAX_SCANS = 50


def decode_image(data: memoryview, header: ImageHeader, flags: int) -> npt.NDArray[Any]:
    """Decode a compressed image whose size has been checked.

    Args:
        data: the file.
        header: its header.
        flags: of ``cv2.imdecode``.

    Returns:
        H×W or H×W×C in OpenCV's channel order, as ``flags`` ask for it. A lying header can give
        another size.

    Raises:
        UnusableImageError: the file is truncated or damaged, or takes more than its size requires.
    """
    name, count = header.codec.upper(), len(data)
    if header.codec == "png":
        data = memoryview(with_pixels_only(data))
    elif header.codec == "jpeg":
        if is_truncated(data):
            raise UnusableImageError(
                f"the JPEG of {count} bytes has no end: the message is truncated"
            )
        scans = bytes(data).count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise UnusableImageError(
                f"the JPEG has {scans} scans, more than the {MAX_SCANS} that are decoded; "
                "publish baseline JPEG"
            )
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise UnusableImageError(
            f"OpenCV cannot decode the {name} of {count} bytes; check the camera driver and the "
            "network"
        )
    return np.asarray(image)
