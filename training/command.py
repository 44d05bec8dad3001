# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Shared by all commands: one-line errors, exit codes, stopping on Ctrl-C, out of memory."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rgbd_seg_ros.command_line import noted_interrupt, one_line, set_library_defaults
from rgbd_seg_ros.files import check_writable, describe_os_error
from training.options import UsageError

#: Under torchrun, one Ctrl-C reaches a rank twice: from the terminal and from the parent process.
SAME_REQUEST_S = 2.0


def run_command(main: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    A user's mistake prints one line and returns 2; Ctrl-C returns 130.
    """
    set_library_defaults()  # before torch is imported, so no command imports it at its top
    try:
        with noted_interrupt():
            return main()
    except OSError as error:
        print(f"error: {one_line(describe_os_error(error))}", file=sys.stderr)
        return 2
    except (UsageError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except ValueError as error:
        if type(error) is ValueError:  # a bug, because BundleError and similar ones are subclasses
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2


def require_empty(folder: Path, overwrite: bool) -> None:
    """Check that results may be written into a folder.

    Raises:
        UsageError: it is not empty, and ``overwrite`` is not set.
        OutputError: it cannot be written.
    """
    check_writable(folder, "--out")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; pass a folder")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise UsageError(f"{folder} is not empty; choose another --out or add --overwrite")


class Interrupt:
    """Turns Ctrl-C and SIGTERM into a request to stop; a second signal stops immediately.

    Within the block, the first signal sets :attr:`asked`. On exit, the previous handlers are
    restored.
    """

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.asked:
            if time.monotonic() - self._asked_at > SAME_REQUEST_S:
                raise KeyboardInterrupt
            return
        self.asked, self._asked_at = True, time.monotonic()
        if os.environ.get("RANK", "0") == "0":
            print("stopping after this step, then saving …", file=sys.stderr, flush=True)


@contextmanager
def out_of_memory(advice: str) -> Iterator[None]:
    """Report running out of memory within the block as ``out of memory ADVICE``.

    Raises:
        UsageError: the GPU or the process ran out of memory. Other errors pass unchanged.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # PyTorch has an exception class only for the GPU; CPU errors differ in their text.
        text = str(error).lower()
        if (
            isinstance(error, MemoryError)
            or "out of memory" in text
            or "can't allocate memory" in text
        ):
            raise UsageError(f"out of memory {advice}") from error
        raise
