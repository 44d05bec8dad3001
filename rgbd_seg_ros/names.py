# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Error messages for unknown names, with the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` with the most similar known name, or an empty string.

    The dashes of options do not count, so that they do not make short names similar.
    """
    bare = {other.lstrip("-"): other for other in known}
    near = difflib.get_close_matches(name.lstrip("-"), bare, n=1)
    return f"; did you mean {bare[near[0]]!r}?" if near else ""


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """Error message for an unknown name: the name, the most similar one, and all known names."""
    known = list(known)
    return f"unknown {what} {name!r}{did_you_mean(str(name), known)} (known: {', '.join(known)})"
