# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Options of `rgbd_seg replay` as keys of a plan, checked and written as a command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rgbd_seg_ros.names import shown, unknown_name

#: Options that the plan or the batch itself sets for each replay.
_OWN = (
    "help", "bag", "bundle", "faults", "random_faults", "out", "record", "rerun", "junit",
    "overwrite", "json", "batch", "compare", "jobs",
)  # fmt: skip

Values = Mapping[str, Any]


class BatchError(ValueError):
    """An unusable batch; the message names the file and the remedy."""


class ReplayArguments:
    """The options of `rgbd_seg replay`, to be checked in a plan and written as words.

    Args:
        parser: declares them.
        check_set: raises a ValueError for settings of the core that are not usable.
    """

    def __init__(
        self, parser: argparse.ArgumentParser, check_set: Callable[[list[str]], object]
    ) -> None:
        self._actions = {a.dest: a for a in parser._actions if a.dest not in _OWN}
        self._check_set = check_set

    def given(self, args: argparse.Namespace) -> dict[str, Any]:
        """The options of a command line that differ from their defaults."""
        values = {dest: getattr(args, dest) for dest in self._actions}
        return {d: v for d, v in values.items() if v != self._actions[d].default}

    def words(self, values: Values, where: str) -> list[str]:
        """The options as words of a command line.

        Args:
            values: destination of the option → its value; ``set`` also as a mapping.
            where: the file and section, for errors.

        Raises:
            BatchError: an option is unknown, or a value has the wrong type.
        """
        words: list[str] = []
        for name, value in values.items():
            if name in ("bundle", "faults", "random_faults"):
                section = "bundles" if name == "bundle" else "faults"
                raise BatchError(f"{where}: {name} is no option; list it in {section} of the plan")
            if name not in self._actions:
                raise BatchError(f"{where}: {unknown_name('option', name, self._actions)}")
            action = self._actions[name]
            option = action.option_strings[-1]
            if action.nargs == 0:
                if not isinstance(value, bool):
                    raise BatchError(f"{where}: {name} must be true or false, got {shown(value)}")
                words += [option] if value else []
            elif name == "set":
                settings = _settings(value, where)
                self._check_set(settings)
                words += [f"{option}={setting}" for setting in settings]
            else:
                words.append(f"{option}={_text(action, value, where)}")
        return words


def _settings(value: Any, where: str) -> list[str]:
    if isinstance(value, Mapping):
        value = [f"{key}={_yaml(setting)}" for key, setting in value.items()]
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise BatchError(
            f"{where}: set must be NAME: VALUE for each parameter, got {shown(value)}"
        )
    return value


def _yaml(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)


def _text(action: argparse.Action, value: Any, where: str) -> str:
    name, number = action.dest, isinstance(value, (int, float)) and not isinstance(value, bool)
    if action.type is float:
        if not number:
            raise BatchError(f"{where}: {name} must be a number, got {shown(value)}")
    elif not isinstance(value, (str, Path)):
        raise BatchError(f"{where}: {name} must be text, got {shown(value)}")
    if action.choices is not None and value not in action.choices:
        raise BatchError(f"{where}: {unknown_name(name, value, action.choices)}")
    return str(value)
