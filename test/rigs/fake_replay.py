# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg replay` with a fake engine, as a process: ``python fake_replay.py ARGUMENTS``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def load(bundle: Path | None, device: str, backend: str) -> Any:
    """A fake engine; the color network of a bundle in a folder named ``worse`` is never right."""
    from rigs.recordings import PlainEngine

    engine = PlainEngine()
    if bundle is not None and bundle.name == "worse":
        engine.classes = {"rgbd": 0, "rgb": 2, "depth": 2}
    return engine


if __name__ == "__main__":
    TEST = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(TEST.parent), str(TEST)]
    from rgbd_seg_ros import cli
    from rgbd_seg_ros.replay import command

    command.load_engine = load  # type: ignore[assignment]
    sys.exit(cli.main(["replay", *sys.argv[1:]]))
