# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Templates of the HTML pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgbd_seg_ros.replay.runner import ReplayError

if TYPE_CHECKING:
    import jinja2


def open_template(name: str, **variables: Any) -> jinja2.Template:
    """A template of this folder.

    Args:
        name: file name.
        variables: further variables of the template.

    Raises:
        ReplayError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ReplayError(
            f"the report of --out needs jinja2 ({error}); install it with: pip install jinja2"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment.get_template(name, globals=variables)


def percent(share: float | None) -> str:
    """``0.523`` as ``52.3 %``; a dash for None."""
    return "–" if share is None else f"{share * 100:.1f} %"
