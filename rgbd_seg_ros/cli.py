# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command `rgbd_seg`: runs one of its subcommands, importing only what that one needs."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from rgbd_seg_ros.command_line import (
    noted_interrupt,
    one_line,
    set_library_defaults,
    unknown_option,
)
from rgbd_seg_ros.files import describe_os_error
from rgbd_seg_ros.names import unknown_name

#: Command: (module with ``add_arguments(parser)`` and ``run(args) -> exit code``, help).
COMMANDS = {
    "replay": (
        "rgbd_seg_ros.replay.command",
        "replay a recorded bag without ROS and score the masks",
    ),
    "predict": ("rgbd_seg_ros.predict", "segment image files and write masks and overlays"),
    "bench": ("rgbd_seg_ros.bench", "measure the latency of networks and backends"),
    "doctor": ("rgbd_seg_ros.doctor", "check the installation: PyTorch, CUDA, ROS and the bundle"),
}


class _UsageError(SystemExit):
    """Exit 2 after a mistake on the command line, which is already on stderr."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message

    def __str__(self) -> str:
        return self.message


class _Parser(argparse.ArgumentParser):
    """Raises a mistake as an exception that keeps its message."""

    def error(self, message: str) -> NoReturn:
        try:
            super().error(message)
        except SystemExit as error:
            raise _UsageError(message) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, 1 (a check failed), 2 (bad usage or input) or 130 (Ctrl-C).

    With ``--json``, what is wrong with usage or input is also printed on stdout, as an object
    with the key ``error``.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    say_json = "--json" in words
    chosen = words[0] if words[:1] and words[0] in COMMANDS else ""
    try:
        with noted_interrupt():
            return _run(words, chosen)
    except _UsageError as error:
        if say_json:
            print(json.dumps({"error": str(error)}))
        raise
    # User mistakes raise subclasses of ValueError whose message names the remedy. OSError
    # means, for example, a full disk, and ImportError a package that is not installed.
    except (ValueError, OSError, ImportError) as error:
        if type(error) is ValueError:
            raise  # a bug in this package, so show the traceback
        text = describe_os_error(error) if isinstance(error, OSError) else str(error)
        if isinstance(error, ModuleNotFoundError):
            text += "; install it, and see `rgbd_seg doctor`"
        print(f"rgbd_seg {chosen}: {one_line(text)}", file=sys.stderr)
        if say_json:
            print(json.dumps({"error": one_line(text)}))
        return 2
    except KeyboardInterrupt:
        print(f"rgbd_seg {chosen}: interrupted", file=sys.stderr)
        return 130


def _run(words: list[str], chosen: str) -> int:
    set_library_defaults()
    parser = _Parser(prog="rgbd_seg", description="RGB-D semantic segmentation")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {
        name: commands.add_parser(name, help=t, description=t) for name, (_, t) in COMMANDS.items()
    }
    if words and not words[0].startswith("-") and not chosen:
        parser.error(unknown_name("command", words[0], COMMANDS))
    command = parsers.get(chosen, parser)
    if chosen:  # import only the chosen command
        importlib.import_module(COMMANDS[chosen][0]).add_arguments(command)
    mistake = unknown_option(command, words[1:] if chosen else words[:1])
    if mistake:
        command.error(mistake)
    args = parser.parse_args(words)
    args.words = words
    code: int = importlib.import_module(COMMANDS[args.command][0]).run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
