# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Typed options: dataclass fields as YAML keys and command-line flags."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rgbd_seg_ros import files
from rgbd_seg_ros.command_line import unknown_option
from rgbd_seg_ros.files import InputFileError
from rgbd_seg_ros.names import did_you_mean, shown, unknown_name


class UsageError(ValueError):
    """A mistake that the user can fix; the one-line message names the value and the remedy."""


def opt(default: Any, help: str) -> Any:
    """Define a dataclass field with a default and a description for ``--help``."""
    return dataclasses.field(default=default, metadata={"help": help})


def lookup(what: str, name: Any, registry: Mapping[str, Any]) -> Any:
    """``registry[name]``.

    Raises:
        UsageError: an unknown name; the message lists the known ones.
    """
    if not isinstance(name, str) or name not in registry:  # from YAML, it may be a list
        raise UsageError(unknown_name(what, name, registry))
    return registry[name]


# --- Values ------------------------------------------------------------------------------------


def convert(value: Any, kind: Any, key: str) -> Any:
    """Convert a YAML value or a command-line string to ``kind``.

    Args:
        value: the raw value.
        kind: ``bool``, ``int``, ``float``, ``str``, a tuple of these, a ``Literal``, or the union
            of a ``Literal`` and a tuple.
        key: the option, named in errors.

    Raises:
        UsageError: the value does not fit; the message names the key and what is allowed.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, args, key)
    if origin is typing.Literal:
        # YAML reads a bare `off` as False and `on` as True.
        value = {False: "off", True: "on"}.get(value, value) if isinstance(value, bool) else value
        if value not in args:
            hint = did_you_mean(str(value), args)
            raise UsageError(f"{key}: {value!r} is not one of {', '.join(map(str, args))}{hint}")
        return value
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
    number = float(value)  # YAML 1.1 reads 1e-4 as a string, which float() accepts
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _str(value: Any) -> str:
    if isinstance(value, dict | list) or value is None:
        raise ValueError(value)
    return str(value)


_NOUNS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}
_SCALARS: dict[Any, Callable[[Any], Any]] = {bool: _bool, int: _int, float: _float, str: _str}


def _convert_union(value: Any, kinds: tuple[Any, ...], key: str) -> Any:
    """A word of the ``Literal`` in ``kinds``, or a value of the other kind."""
    words = next(kind for kind in kinds if typing.get_origin(kind) is typing.Literal)
    (other,) = (kind for kind in kinds if kind is not words)
    if isinstance(value, str) and value.strip()[:1].isalpha():
        try:
            return convert(value, words, key)
        except UsageError as error:
            raise UsageError(f"{error}; or give numbers, separated by commas") from error
    return convert(value, other, key)


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
        raise UsageError(f"{key}: expected {len(args)} values, got {list(value)}")
    return tuple(convert(v, a, key) for v, a in zip(value, args, strict=True))


# --- From dataclasses to a parser ----------------------------------------------------------------


def field_types(cls: type) -> dict[str, Any]:
    """Field name → type, with annotations resolved."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def check_positive(options: Any, *keys: str) -> None:
    """Raise UsageError unless the values of these keys are above 0."""
    for key in keys:
        if getattr(options, key) <= 0:
            raise UsageError(f"{key} must be above 0, got {getattr(options, key)}")


def as_text(value: Any) -> str:
    """A value as a user would type it."""
    if isinstance(value, tuple):
        return ",".join(map(as_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def add_options(
    parser: argparse.ArgumentParser, title: str, cls: type, only: Iterable[str] | None = None
) -> None:
    """Add one ``--flag`` per field (in ``only``); flags that are not passed have no value."""
    group = parser.add_argument_group(title)
    hints = field_types(cls)
    for field in dataclasses.fields(cls):
        if only is not None and field.name not in only:
            continue
        kind = hints[field.name]
        choices = _words(kind)
        default = as_text(field.default)
        doc = field.metadata["help"].replace("%", "%%")
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=field.name,
            default=argparse.SUPPRESS,
            metavar="|".join(choices) or _METAVARS.get(kind, "V"),
            help=f"{doc} (default {default})" if default else doc,
            **({"nargs": "?", "const": True} if kind is bool else {}),
        )


def _words(kind: Any) -> tuple[str, ...]:
    """The words that an option accepts, then ``X,X,…`` if it also accepts numbers."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(word for one in typing.get_args(kind) for word in _words(one) or ("X,X,…",))
    return ()


_METAVARS = {bool: "true|false", int: "N", float: "X", str: "TEXT"}


def parse_flags(parser: argparse.ArgumentParser, argv: list[str]) -> dict[str, Any]:
    """The passed flags as ``{key: text}``; ``--weight_decay`` is accepted for ``--weight-decay``.

    Raises:
        UsageError: an unknown flag; the message suggests the nearest known one.
    """
    return vars(parse_command(parser, [_dashed(a) for a in argv]))


def parse_command(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """``parser.parse_args(argv)``, with a better answer to an unknown word.

    Raises:
        UsageError: an unknown option; the message suggests the nearest known one.
    """
    words = sys.argv[1:] if argv is None else argv
    if mistake := unknown_option(parser, words):
        raise UsageError(mistake)
    args, unknown = parser.parse_known_args(words)
    if unknown:
        raise UsageError(
            f"unexpected argument {shown(unknown[0])}; options start with -- "
            f"(all: {parser.prog} --help)"
        )
    return args


def _dashed(arg: str) -> str:
    if not arg.startswith("--"):
        return arg
    flag, equals, value = arg.partition("=")
    return flag.replace("_", "-") + equals + value


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises:
        UsageError: the file cannot be read, is not YAML, or does not contain a mapping.
    """
    try:
        document = files.read_yaml(path)
    except InputFileError as error:
        raise UsageError(str(error)) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} must contain `key: value` lines, got {type(document).__name__}")
    return document


def fill(cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of ``cls`` from raw values; keys that are not its fields are ignored.

    Raises:
        UsageError: a value of the wrong type, or one that the class itself rejects.
    """
    hints = field_types(cls)
    chosen = {k: convert(v, hints[k], k) for k, v in values.items() if k in hints}
    try:
        return cls(**chosen)
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
