# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Plan of a batch of replays, from YAML: recordings × fault schedules × bundles.

All sections but ``bags`` may be left out::

    options: {no_masks: true}         # of every replay: those of `rgbd_seg replay`, with _ for -
    bags:
      drive: {bag: out/demo/drive, truth_topic: /truth/mask}      # with options of its own
      corridor: recordings/corridor
    faults: [none, depth-cable, config/faults/rgb_drop.yaml, 7]   # 7: random faults of seed 7
    bundles: {shipped: default, mine: out/bundle}
    columns: [miou, switch_ms]        # measures in the table
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbd_seg_ros import __version__
from rgbd_seg_ros.files import InputFileError, read_yaml
from rgbd_seg_ros.names import shown, unknown_name
from rgbd_seg_ros.replay.fault_presets import find_faults
from rgbd_seg_ros.replay.faults import MAX_SEED, FaultError
from rgbd_seg_ros.replay.measures import MEASURES
from rgbd_seg_ros.replay.replay_words import BatchError, ReplayArguments, Values

_SECTIONS = ("options", "bags", "faults", "bundles", "columns")
#: Name of the bundle that is installed with the package.
SHIPPED = "default"
#: Counts the changes of the keys of ``summary.json``: results of another one are not kept.
SUMMARY_FORMAT = 3
NO_FAULTS = "none"
#: Measures in the table if the plan names none.
COLUMNS = (
    "masks", "miou", "fallback_gain", "masks_rgb_only", "masks_depth_only", "no_input_s",
    "switch_ms", "masks_lost", "flicker", "latency_p50_ms",
)  # fmt: skip
_NAME = re.compile(r"\w[\w.+-]{0,99}")
_PLAIN = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class BatchRun:
    """One replay of a batch."""

    bag: str
    faults: str
    bundle: str
    #: The words after ``rgbd_seg replay``, without the outputs.
    words: tuple[str, ...]
    #: Files and folders that decide about the result, besides the words.
    inputs: tuple[Path, ...]

    @property
    def folder(self) -> str:
        """Folder of its results, relative to that of the batch."""
        return f"runs/{self.bag}/{self.faults}/{self.bundle}"

    def fingerprint(self) -> str:
        """SHA-256 of version, words and inputs: content of small files, size and time of others.

        Raises:
            OSError: an input cannot be read.
        """
        sha256 = hashlib.sha256(json.dumps([__version__, SUMMARY_FORMAT, *self.words]).encode())
        for path in self.inputs:
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in (f for f in files if f.is_file()):
                status = file.stat()
                if file.suffix in (".yaml", ".json"):
                    sha256.update(file.read_bytes())
                else:
                    sha256.update(f"{file} {status.st_size} {status.st_mtime_ns}".encode())
        return sha256.hexdigest()


@dataclass(frozen=True)
class ReplayBatchPlan:
    """The replays of a batch, and what its summary shows."""

    runs: tuple[BatchRun, ...]
    #: The first one is the control of the others.
    bundles: tuple[str, ...]
    columns: tuple[str, ...]


def read_batch(
    path: Path, arguments: ReplayArguments, given: Values, bags: Sequence[Path], compare: str
) -> ReplayBatchPlan:
    """Read a plan from a YAML file.

    Args:
        path: the file; paths in it are relative to the current folder.
        arguments: the options that the plan may use.
        given: options of the command line, which take precedence over those of the plan.
        bags: further recordings.
        compare: folder of a further bundle, or an empty string.

    Raises:
        BatchError: an unknown section or option, or a value that cannot be used.
        FaultError: a schedule cannot be used.
    """
    try:
        document = read_yaml(path)
    except InputFileError as error:
        raise BatchError(str(error)) from error
    if not isinstance(document, dict):
        raise BatchError(f"{path}: expected the sections {', '.join(_SECTIONS)}, got "
                         f"{shown(document)}")  # fmt: skip
    for key in document:
        if key not in _SECTIONS:
            raise BatchError(f"{path}: {unknown_name('section', key, _SECTIONS)}")
    options = _mapping(document.get("options") or {}, f"{path}, options")
    arguments.words(options, f"{path}, options")
    _check_files(options, f"{path}, options")
    own = _bags(document.get("bags") or {}, f"{path}, bags")
    faults = document.get("faults")
    bundles = _named(document.get("bundles") or [SHIPPED], f"{path}, bundles")
    columns = document.get("columns") or list(COLUMNS)
    if not isinstance(columns, list):
        raise BatchError(f"{path}: columns must be a list of measures, got {shown(columns)}")
    for column in columns:
        if column not in MEASURES:
            raise BatchError(f"{path}, columns: {unknown_name('measure', column, MEASURES)}")
    return make_batch(
        arguments,
        {n: {**options, **entry, **given} for n, entry in [*own.items(), *_extra(bags, own)]},
        [NO_FAULTS] if faults is None else faults,
        {**bundles, **_extra_bundle(compare, bundles)},
        str(path),
        columns,
    )


def make_batch(
    arguments: ReplayArguments,
    bags: Mapping[str, Values],
    faults: Any,
    bundles: Mapping[str, str],
    where: str,
    columns: Sequence[str] = COLUMNS,
) -> ReplayBatchPlan:
    """All combinations of recordings, schedules and bundles, each checked.

    Args:
        arguments: the options that a recording may have.
        bags: name → ``bag``, the path, and options.
        faults: presets, YAML files, ``none``, and seeds of random schedules.
        bundles: name → folder, or ``default`` for the shipped one.
        where: the plan, for errors.
        columns: measures in the table.

    Raises:
        BatchError, FaultError: see :func:`read_batch`.
    """
    if not bags:
        raise BatchError(f"{where} has no recording; name one in bags, or on the command line")
    schedules = _schedules(faults, f"{where}, faults")
    for name, folder in bundles.items():
        if folder != SHIPPED and not (Path(folder) / "bundle.json").is_file():
            raise BatchError(f"{where}, bundles: {name} ({folder}) is not the folder of a bundle")
    runs = []
    for name, entry in bags.items():
        place = f"{where}, bags: {name}"
        bag = Path(str(entry.get("bag")))
        if "bag" not in entry or not bag.exists():
            raise BatchError(f"{place}: there is no recording {shown(str(bag))}; check the path")
        values = {key: value for key, value in entry.items() if key != "bag"}
        words = arguments.words(values, place)
        files = _check_files(values, place)
        for (schedule, option, file), (bundle, folder) in itertools.product(
            schedules, bundles.items()
        ):
            shipped = folder == SHIPPED
            chosen = [] if shipped else [f"--bundle={folder}"]
            inputs = (bag, *files, *file, *([] if shipped else [Path(folder)]))
            unused = "--without-faults" if schedule == NO_FAULTS else None
            line = (str(bag), *option, *chosen, *(word for word in words if word != unused))
            runs.append(BatchRun(name, schedule, bundle, line, inputs))
    return ReplayBatchPlan(tuple(runs), tuple(bundles), tuple(columns))


def _check_files(values: Values, where: str) -> list[Path]:
    """The files that options name.

    Raises:
        BatchError: one does not exist.
    """
    names = ("truth", "class_map", "criteria")
    files = [Path(str(value)) for key, value in values.items() if key in names]
    if missing := [file for file in files if not file.exists()]:
        raise BatchError(f"{where}: {missing[0]} does not exist; check the path")
    return files


def name_bags(bags: Sequence[Path], given: Values) -> dict[str, Values]:
    """The recordings of a command line, named like their files, with the options given."""
    return {name: {**entry, **given} for name, entry in _extra(bags, {})}


def name_bundles(first: Path | None, second: Path) -> dict[str, str]:
    """Two bundles of a command line, named like their folders."""
    bundles = _named([str(first) if first else SHIPPED], "--bundle")
    return {**bundles, **_extra_bundle(str(second), bundles)}


def _schedules(faults: Any, where: str) -> list[tuple[str, list[str], list[Path]]]:
    """Name, words and files of each schedule."""
    if not isinstance(faults, list) or not faults:
        raise BatchError(
            f"{where} must be a list of presets, files and seeds, for example [none, "
            f"depth-cable, 7], got {shown(faults)}"
        )
    schedules: dict[str, tuple[str, list[str], list[Path]]] = {}
    for entry in faults:
        if entry is None or entry == NO_FAULTS:
            found: tuple[str, list[str], list[Path]] = (NO_FAULTS, [], [])
        elif isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry <= MAX_SEED:
            found = (f"random-{entry}", [f"--random-faults={entry}"], [])
        elif isinstance(entry, str) and entry:
            try:
                find_faults(entry)
            except FaultError as error:
                raise BatchError(f"{where}: {error}") from error
            is_file = Path(entry).is_file()
            name = _PLAIN.sub("-", Path(entry).stem if is_file else entry)
            found = (name, [f"--faults={entry}"], [Path(entry)] if is_file else [])
        else:
            raise BatchError(
                f"{where}: expected a preset, a file or a seed of 0 to {MAX_SEED}, got "
                f"{shown(entry)}"
            )
        if found[0] in schedules:
            raise BatchError(f"{where}: {shown(entry)} is the second schedule named {found[0]}")
        schedules[found[0]] = found
    return list(schedules.values())


def _bags(section: Any, where: str) -> dict[str, Values]:
    """Name → options of each recording, with its path as ``bag``."""
    if isinstance(section, list):
        section = _named(section, where)
    bags: dict[str, Values] = {}
    for name, entry in _mapping(section, where).items():
        _check_name(name, where)
        if isinstance(entry, str):
            entry = {"bag": entry}
        if not isinstance(entry, dict) or not isinstance(entry.get("bag"), str):
            raise BatchError(f"{where}: {name} must be a path, or a mapping with the path as bag, "
                             f"got {shown(entry)}")  # fmt: skip
        bags[name] = entry
    return bags


def _named(section: Any, where: str) -> dict[str, str]:
    """Name → path, from a mapping or from a list of paths."""
    named: dict[str, str] = {}
    entries = list(section.items()) if isinstance(section, dict) else []
    if not isinstance(section, dict):
        if not isinstance(section, list) or not all(isinstance(p, str) and p for p in section):
            raise BatchError(
                f"{where} must be a list of paths, or NAME: PATH, got {shown(section)}"
            )
        entries = [(_name_of(Path(path)), path) for path in section]
    for name, path in entries:
        _check_name(name, where)
        if not isinstance(path, str) or not path:
            raise BatchError(f"{where}: {name} must be a path, got {shown(path)}")
        if name in named:
            raise BatchError(f"{where}: two paths are named {name}; write NAME: PATH instead")
        named[name] = path
    return named


def _mapping(section: Any, where: str) -> dict[str, Any]:
    if not isinstance(section, dict):
        raise BatchError(f"{where} must be a mapping, got {shown(section)}")
    return section


def _check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BatchError(
            f"{where}: a name has letters, digits and any of _ . + -, since it names a folder; "
            f"got {shown(name)}"
        )


def _name_of(path: Path) -> str:
    name = _PLAIN.sub("-", path.resolve().name.partition(".")[0]).strip("-")
    return name[:100] or "recording"


def _free_name(path: Path, taken: Mapping[str, object]) -> str:
    name = _name_of(path)
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(n for n in (name, *itertools.islice(numbered, len(taken))) if n not in taken)


def _extra(bags: Sequence[Path], taken: Mapping[str, Values]) -> list[tuple[str, Values]]:
    found: dict[str, Values] = {}
    for bag in bags:
        found[_free_name(bag, {**taken, **found})] = {"bag": str(bag)}
    return list(found.items())


def _extra_bundle(folder: str, taken: Mapping[str, str]) -> dict[str, str]:
    return {_free_name(Path(folder), taken): folder} if folder else {}
