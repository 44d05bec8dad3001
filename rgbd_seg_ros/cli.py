# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg`: replay, predict, doctor. Finds the command and hands over; imports nothing heavy."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

#: Command to the module with its ``add_arguments(parser)`` and ``run(args) -> exit code``.
COMMANDS = {
    "replay": ("rgbd_seg_ros.replay.command", "a recorded bag through the core, without ROS"),
    "predict": ("rgbd_seg_ros.predict", "pictures in, masks and overlays out"),
    "doctor": ("rgbd_seg_ros.doctor", "check torch, CUDA, ROS and the bundle"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 (a check failed), 2 (bad usage or input) or 130 (Ctrl-C)."""
    # Before torch loads: OpenMP threads that spin for each other starve on busy cores (p95 of a
    # mask 937 ms instead of 255 ms at a load of 9 on two cores).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="rgbd_seg", description="RGB-D segmentation")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if words[:1] == [name]:  # only the chosen one is imported
            importlib.import_module(module).add_arguments(command)
    args = parser.parse_args(words)
    try:
        code: int = importlib.import_module(COMMANDS[args.command][0]).run(args)
    # A user's mistake is a subclass of ValueError that says what to do; OSError is a full disk.
    except (ValueError, OSError) as error:
        if type(error) is ValueError:
            raise  # a fault of ours: its trace is wanted
        print(f"rgbd_seg {args.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"rgbd_seg {args.command}: interrupted", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
