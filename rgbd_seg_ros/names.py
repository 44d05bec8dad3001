# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Error messages about names and values: short, and with the name that was probably meant."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

#: Longest value that a message shows, in characters.
MAX_SHOWN = 80
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = MAX_SHOWN
_REPR.maxlevel = 3


def shown(value: object) -> str:
    """The value as in Python source code, shortened to about 80 characters, in one line.

    A value read from a file or a message may have megabytes, or be nested without end.
    """
    try:
        text = _REPR.repr(value)
    except (ValueError, RecursionError):  # a number of more than 4300 digits
        return f"a very large {type(value).__name__}"
    middle = MAX_SHOWN // 2
    return text if len(text) <= 2 * MAX_SHOWN else f"{text[:middle]}...{text[-middle:]}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` with the most similar known name, or an empty string.

    The dashes of options do not count, so that they do not make short names similar, and neither
    does the case of letters.
    """
    bare = {other.lstrip("-").casefold(): other for other in known}
    if not isinstance(name, str) or len(name) > MAX_SHOWN:  # comparing takes quadratic time
        return ""
    near = difflib.get_close_matches(name.lstrip("-").casefold(), bare, n=1)
    return f"; did you mean {bare[near[0]]!r}?" if near else ""


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """Error message for an unknown name: the name, the most similar one, and all known names."""
    known = list(known)
    return f"unknown {what} {shown(name)}{did_you_mean(name, known)} (known: {', '.join(known)})"
