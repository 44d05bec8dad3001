# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Shared by all command lines: unknown options with a suggestion, Ctrl-C, library settings."""

from __future__ import annotations

import argparse
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rgbd_seg_ros.names import did_you_mean, shown

#: Longest error message that a command prints, in characters.
MAX_MESSAGE = 1000
_NEGATIVE_NUMBER = re.compile(r"-\.?\d.*")


def unknown_option(parser: argparse.ArgumentParser, words: Sequence[str]) -> str | None:
    """Error message for the first word that looks like an option but is none of the parser's.

    argparse reports a missing argument before an unknown option, although the misspelled option is
    often the reason, and suggests nothing.

    Args:
        parser: the parser of the command.
        words: its command line, without the name of the command.
    """
    known = [option for action in parser._actions for option in action.option_strings]
    for word in words:
        if word == "--":
            return None
        if not word.startswith("-") or word == "-" or _NEGATIVE_NUMBER.fullmatch(word):
            continue
        name = word.partition("=")[0]
        # As argparse does, accept -xVALUE and, unless the parser forbids them, abbreviations.
        if name.startswith("--"):
            fits = any(o.startswith(name) if parser.allow_abbrev else o == name for o in known)
        else:
            fits = name[:2] in known or name in known
        if not fits:
            hint = did_you_mean(name, [option for option in known if option.startswith("--")])
            return f"unknown option {shown(name)}{hint} (all: {parser.prog} --help)"
    return None


def one_line(error: BaseException | str) -> str:
    """The message of an error in one line of at most 1000 characters.

    Messages may contain values from files and messages, which may have megabytes.
    """
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"


def set_library_defaults() -> None:
    """Set environment variables that PyTorch and OpenCV read when they are imported.

    Call this before either is imported; the user's own values are kept.
    """
    # OpenMP threads that busy-wait starve each other on busy cores: at a load of 9 on two cores,
    # the p95 of a mask was 937 ms instead of 255 ms.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # OpenCV prints a line for every damaged image. We count them and tell each kind once.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")


@contextmanager
def noted_interrupt() -> Iterator[None]:
    """Make sure that Ctrl-C within the block ends it with a KeyboardInterrupt.

    C code may replace a KeyboardInterrupt by another error, or ignore it. During an import, where
    PyTorch and OpenCV do so, the process exits at once with code 130.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, whatever error it became.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    noted = False

    def handle(number: int, frame: Any) -> None:
        nonlocal noted
        noted = True
        while frame is not None:
            if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
                os.write(2, b"interrupted\n")
                os._exit(130)
            frame = frame.f_back
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    except BaseException as error:
        if noted and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is handle:
            signal.signal(signal.SIGINT, before)
