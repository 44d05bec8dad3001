# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Running out of memory: told from other errors, answered with what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from training.options import UsageError


@contextmanager
def out_of_memory(advice: str) -> Iterator[None]:
    """Lack of memory within the block becomes ``out of memory ADVICE``; other errors pass.

    Raises:
        UsageError: the GPU's or the process's memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error).lower()  # the CPU's allocator has no exception of its own
        if (
            isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
            or "can't allocate memory" in text
            or "out of memory" in text
        ):
            raise UsageError(f"out of memory {advice}") from error
        raise
