# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Messages for unknown names: the known names, and the one that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """One line for a name that is in no registry: the name, the nearest match, all known names."""
    known = list(known)
    return f"unknown {what} {name!r}{did_you_mean(str(name), known)} (known: {', '.join(known)})"
