# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Typed options: a dataclass becomes YAML keys and command-line flags, a typo a suggestion."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


class UsageError(ValueError):
    """Something the user can mend; the message is one line that names the value and the remedy."""


def opt(default: Any, help: str) -> Any:
    """A dataclass field with a default and the sentence that ``--help`` prints."""
    return dataclasses.field(default=default, metadata={"help": help})


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def lookup(what: str, name: str, registry: Mapping[str, Any]) -> Any:
    """``registry[name]``, or an error that lists what is known."""
    if name not in registry:
        hint = did_you_mean(name, registry)
        raise UsageError(f"unknown {what} {name!r}{hint} (known: {', '.join(registry)})")
    return registry[name]


# --- Values ------------------------------------------------------------------------------------


def convert(value: Any, kind: Any, key: str) -> Any:
    """A YAML value or a command line's string as ``kind``: bool, int, float, str, tuple, Literal.

    Raises:
        UsageError: it is none; the message names the key and what is allowed.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        # YAML reads a bare `off` as False and `on` as True.
        value = {False: "off", True: "on"}.get(value, value) if isinstance(value, bool) else value
        if value not in args:
            hint = did_you_mean(str(value), args)
            raise UsageError(f"{key}: {value!r} is none of {', '.join(map(str, args))}{hint}")
        return value
    if origin in (types.UnionType, typing.Union):  # X | None
        if value is None or value == "none":
            return None
        return convert(value, next(a for a in args if a is not types.NoneType), key)
    if origin is tuple:
        return _convert_tuple(value, args, key)
    try:
        return _SCALARS[kind](value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{key}: {value!r} is not {_NOUNS[kind]}") from error


def _bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
        raise ValueError(value)
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    number = float(value)  # YAML 1.1 reads 1e-4 as a string; float() does not mind
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _str(value: Any) -> str:
    if isinstance(value, dict | list) or value is None:
        raise ValueError(value)
    return str(value)


_NOUNS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}
_SCALARS: dict[Any, Callable[[Any], Any]] = {bool: _bool, int: _int, float: _float, str: _str}


def _convert_tuple(value: Any, args: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    """``[480, 640]``, ``480,640`` or ``480x640``."""
    if isinstance(value, str):
        value = [
            v for v in value.strip("[]()").replace("x", ",").replace(" ", ",").split(",") if v
        ]
    if not isinstance(value, list | tuple):
        value = [value]
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(value) != len(args):
        raise UsageError(f"{key}: needs {len(args)} values, got {list(value)}")
    return tuple(convert(v, a, key) for v, a in zip(value, args, strict=True))


# --- From dataclasses to a parser ----------------------------------------------------------------


def kinds(cls: type) -> dict[str, Any]:
    """Field name → type, annotations resolved."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def shown(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, tuple):
        return ",".join(map(shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def add_options(
    parser: argparse.ArgumentParser, title: str, cls: type, only: Iterable[str] | None = None
) -> None:
    """One ``--flag`` per field (of ``only`` these); unset flags leave no trace in the result."""
    group = parser.add_argument_group(title)
    hints = kinds(cls)
    for field in dataclasses.fields(cls):
        if only is not None and field.name not in only:
            continue
        kind = hints[field.name]
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        default = shown(field.default) or "none"
        doc = field.metadata["help"].replace("%", "%%")
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=field.name,
            default=argparse.SUPPRESS,
            metavar="|".join(choices) or _METAVARS.get(kind, "V"),
            help=f"{doc} (default {default})",
            **({"nargs": "?", "const": True} if kind is bool else {}),
        )


_METAVARS = {bool: "true|false", int: "N", float: "X", str: "TEXT"}


def parse_flags(parser: argparse.ArgumentParser, argv: list[str]) -> dict[str, Any]:
    """The flags given, as ``{key: text}``. ``--weight_decay`` and ``--weight-decay`` are one.

    Raises:
        UsageError: an unknown flag, with the nearest known one.
    """
    argv = [_dashed(a) for a in argv]
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        flags = [s for action in parser._actions for s in action.option_strings]
        name = unknown[0].split("=")[0]
        hint = did_you_mean(name, flags) if name.startswith("-") else "; options start with --"
        raise UsageError(f"unknown option {name!r}{hint} (all: {parser.prog} --help)")
    return vars(args)


def _dashed(arg: str) -> str:
    if not arg.startswith("--"):
        return arg
    flag, equals, value = arg.partition("=")
    return flag.replace("_", "-") + equals + value


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds one mapping."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} must hold `key: value` lines, got {type(document).__name__}")
    return document


def fill(cls: type, values: Mapping[str, Any]) -> Any:
    """``cls`` from raw values; keys of other classes are left alone.

    Raises:
        UsageError: a value of a wrong type, or one that the class's own checks refuse.
    """
    hints = kinds(cls)
    chosen = {k: convert(v, hints[k], k) for k, v in values.items() if k in hints}
    try:
        return cls(**chosen)
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
