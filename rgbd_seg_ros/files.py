# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Files: safe reading of JSON, YAML and files named in them, and atomic writing."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from rgbd_seg_ros.names import shown
from rgbd_seg_ros.yaml_checks import MAX_DIGITS, check_yaml

#: Largest JSON or YAML file that is read, in bytes. The largest shipped one has 12 kB; the index
#: of a prepared dataset has its own limit.
MAX_TEXT_BYTES = 4 * 2**20
#: Largest file with one JSON document per line that is read, in bytes.
MAX_LINES_BYTES = 256 * 2**20
#: Endings of archives, which must be unpacked before anything in them is read.
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
#: Remedy for an error of the operating system, by its number.
OS_REMEDIES = {
    errno.EACCES: "choose another path, or change its owner or permissions",
    errno.EPERM: "choose another path, or change its owner or permissions",
    errno.EROFS: "choose a path on a file system that can be written",
    errno.ENOSPC: "free disk space, or choose another disk",
    errno.EDQUOT: "free disk space, or choose another disk",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file; check the path",
    errno.EISDIR: "pass a file instead of a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


class OutputError(ValueError):
    """An output folder that must not be written; the message names the remedy."""


class InputFileError(ValueError):
    """A file that cannot be used as input; the message names it and the reason."""


# --- Reading -----------------------------------------------------------------------------------


def regular_file_inside(folder: Path, name: object) -> Path:
    """The file with this name in a folder, for a name that was itself read from a file.

    A link within the folder is followed; one that leads out of it is refused, as is everything
    that is not a regular file: reading a FIFO would block, and a device may be endless.

    Args:
        folder: the folder that must contain the file, also after links are resolved.
        name: name or relative path of the file, of any type.

    Raises:
        InputFileError: the name is not the relative path of a regular file in ``folder``.
    """
    if not isinstance(name, str) or not name or "\0" in name or not name.isprintable():
        raise InputFileError(f"a file name must be printable text, got {shown(name)}")
    path = folder / name
    try:
        resolved = path.resolve(strict=True)
        inside = resolved.is_relative_to(folder.resolve(strict=True))
        kind = resolved.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a link to itself
        raise InputFileError(f"cannot read {folder}/{shown(name)[1:-1]}: {_why(error)}") from error
    if Path(name).is_absolute() or not inside:
        target = f" (a link to {resolved})" if path.is_symlink() else ""
        raise InputFileError(
            f"{shown(name)}{target} is outside {folder}; only files inside that folder are read: "
            "copy the file there"
        )
    if not stat.S_ISREG(kind):
        raise InputFileError(f"{path} is not a regular file, but {_kind(kind)}")
    return path


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        InputFileError: the file cannot be read, is not regular, or is larger than ``max_bytes``.
    """
    try:
        # O_NONBLOCK, because opening a FIFO would otherwise wait for a writer.
        with open(path, "rb", opener=lambda p, f: os.open(p, f | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputFileError(f"{path} is not a regular file, but {_kind(status.st_mode)}")
            # Not the size alone: a file of /proc has size 0, and a file may grow.
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(f"cannot read {shown(str(path))[1:-1]}: {_why(error)}") from error
    if len(data) > max_bytes:
        raise InputFileError(
            f"{path} has {status.st_size} bytes; at most {max_bytes} are read, so it is not "
            "what its name says"
        )
    return data


def read_text_file(path: Path) -> str:
    """The text of a small file in UTF-8, with or without a byte order mark.

    Raises:
        InputFileError: the file cannot be read, is not regular, is too large, or is not text.
    """
    try:
        return read_regular_file(path, MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is not a text file in UTF-8: {_why(error)}") from error


def read_json(path: Path, max_bytes: int = MAX_TEXT_BYTES, *, allow_nan: bool = False) -> Any:
    """The value in a JSON file, see :func:`parse_json`.

    Raises:
        InputFileError: the file cannot be read, is not regular, is too large, or is not JSON.
    """
    return parse_json(read_regular_file(path, max_bytes), str(path), allow_nan=allow_nan)


def read_json_lines(path: Path, *, allow_nan: bool = False) -> list[Any]:
    """The values in a file with one JSON document per line, see :func:`parse_json`.

    Raises:
        InputFileError: the file cannot be read, is not regular, is too large, or a line is not
            JSON; the message names the line.
    """
    # Not str.splitlines, which also splits at characters that may occur within a JSON string.
    lines = enumerate(read_regular_file(path, MAX_LINES_BYTES).split(b"\n"), 1)
    return [parse_json(x, f"{path}:{n}", allow_nan=allow_nan) for n, x in lines if x.strip()]


def parse_json(data: bytes, where: str, *, allow_nan: bool = False) -> Any:
    """The value of a JSON document (RFC 8259) in UTF-8, with or without a byte order mark.

    Stricter than :mod:`json`: a key that appears twice, NaN, Infinity, endless numbers and
    unpaired surrogates are errors, because other programs read them differently.

    Args:
        data: the document.
        where: its file, named in errors.
        allow_nan: accept NaN and Infinity, which :mod:`json` writes for undefined scores.

    Raises:
        InputFileError: it is not such a document, or is nested too deeply.
    """
    try:
        value = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_unique_keys,
            parse_constant=float if allow_nan else _refuse_constant,
            parse_int=_parse_int,
            parse_float=_parse_float,
        )
        # Unpaired surrogates cannot be printed or published.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise InputFileError(f"{where} is not JSON that can be used: nested too deeply") from error
    except ValueError as error:
        raise InputFileError(f"{where} is not JSON that can be used: {_why(error)}") from error
    return value


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML document; plain data only, as with ``yaml.safe_load``.

    Stricter than PyYAML, which keeps the last of two equal keys silently, and which expands merge
    keys (``<<``) before anybody can count them. ``1e-1`` is a number, as in JSON and YAML 1.2.

    Args:
        text: the document.
        where: its file, named in errors.

    Raises:
        InputFileError: it is not YAML, a key appears twice, a number has more than 40 characters,
            or the document is too large once its aliases are replaced by their content.
    """
    import yaml

    if len(text) > MAX_TEXT_BYTES:
        raise InputFileError(f"{where} has {len(text)} characters, at most {MAX_TEXT_BYTES}")
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            check_yaml(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError as error:
        raise InputFileError(f"{where} is not YAML that can be used: nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = _why(error.problem or error.context or "unknown syntax")
        raise InputFileError(f"{where}{line} is not valid YAML: {problem}") from error
    # PyYAML raises many kinds of errors for values such as `!!int x`, `2024-13-45` or `[a]: b`.
    except (
        *(yaml.YAMLError, ValueError, ArithmeticError, TypeError, LookupError, AttributeError),
    ) as error:
        raise InputFileError(f"{where} is not YAML that can be used: {_why(error)}") from error


def read_yaml(path: Path) -> Any:
    """The value in a YAML file, see :func:`parse_yaml`.

    Raises:
        InputFileError: the file cannot be read, is not regular, is too large, or is not YAML.
    """
    return parse_yaml(read_text_file(path), str(path))


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} appears twice in one object")
    return document


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number; write null")


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the number {text[:MAX_DIGITS]}… has {len(text)} digits")
    return int(text)


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:MAX_DIGITS]} is too large")
    return value


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe (FIFO)",
        stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "a special file")


def _why(error: object) -> str:
    """An error's reason as one short line."""
    text = (error.strerror or "") if isinstance(error, OSError) else ""
    return " ".join((text or str(error)).split())[:200]


# --- Writing -----------------------------------------------------------------------------------


def check_output_folder(path: Path, overwrite: bool) -> None:
    """Check the folder of ``--out``.

    Raises:
        OutputError: the path is a file, cannot be written, or is a folder that is not empty while
            ``overwrite`` is not set.
    """
    check_writable(path, "--out")
    if path.exists() and not path.is_dir():
        raise OutputError(f"--out {path} is a file; pass a folder")
    if path.exists() and any(path.iterdir()) and not overwrite:
        raise OutputError(f"{path} is not empty; choose another --out or add --overwrite")


def check_writable(path: Path, option: str) -> None:
    """Check that a folder can be written or created, before anything slow is done.

    Args:
        path: the folder.
        option: the option that named it, for errors.

    Raises:
        OutputError: the user may not write there, or the path cannot exist.
    """
    try:
        existing = next(place for place in (path, *path.absolute().parents) if place.exists())
        if existing != path and not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{existing} is a file", str(path))
        if existing.is_dir() and not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{existing} may not be written", str(path))
    except (OSError, ValueError) as error:
        raise unwritable(path, option, error) from error


def unwritable(path: Path, option: str, error: Exception) -> OutputError:
    """The error for an output that cannot be written, with the reason and the remedy."""
    number = error.errno if isinstance(error, OSError) else None
    remedy = OS_REMEDIES.get(number or 0, "choose another path")
    return OutputError(f"cannot write {option} {shown(str(path))[1:-1]}: {_why(error)}; {remedy}")


def describe_os_error(error: OSError) -> str:
    """One line for an error of the operating system: the file, the reason and the remedy."""
    if error.errno is None or not error.strerror:
        return str(error)
    start = f"{shown(str(error.filename))[1:-1]}: " if error.filename is not None else ""
    remedy = OS_REMEDIES.get(error.errno)
    return f"{start}{error.strerror}{f'; {remedy}' if remedy else ''}"


def write_atomically(path: Path, data: bytes | str, *, fsync: bool = False) -> None:
    """Write a file such that a crash or a full disk leaves the old file intact.

    Args:
        path: the file.
        data: its content; text is written as UTF-8.
        fsync: wait until the data is on disk, so that a power failure cannot truncate it either.

    Raises:
        OSError: the file cannot be written; the error names it, and the temporary file is removed.
    """
    scratch = path.with_name(f".{path.name}.partial")
    try:
        with scratch.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
