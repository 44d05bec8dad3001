# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Plan of a comparison, from YAML: rows of runs, seeds, and how learning rates are tuned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbd_seg_ros.names import shown, unknown_name
from training.options import UsageError, convert, read_yaml
from training.settings import from_dict

#: Keys that the plan sets for every run, so that rows must not.
OWN = ("seed", "lr", "teacher", "out", "resume", "overwrite")
#: Keys of a plan, and of its section ``tune``.
PLAN_KEYS, TUNE_KEYS = ("tune", "keys", "rows", "seeds"), ("lr", "epochs", "seed")
#: Key of ``compare.json`` beside the rows, see :mod:`training.comparison_differences`.
COMPARISONS = "comparisons"
#: Valid row names; they are also folder names.
NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")


@dataclass(frozen=True)
class Tuning:
    """Candidate learning rates, and the budget of the runs that choose one for each row.

    With a single rate, tuning is skipped.
    """

    lr: tuple[float, ...]
    epochs: int
    #: Seed of the tuning runs; must differ from the compared seeds.
    seed: int


@dataclass(frozen=True)
class Member:
    """One training run of a row; a row with a pair of single-modality networks has two."""

    name: str
    #: Keys of the run, as in a recipe, without seed, learning rate and teacher.
    keys: Mapping[str, Any]
    #: Member whose tuned learning rate it uses: itself, or a member of the row it derives from.
    tuned_as: str

    def resolved(self, **changes: Any) -> dict[str, Any]:
        """Every key of its runs, including those that the plan omits.

        Raises:
            UsageError: an unknown key, or a value of the wrong type or out of range.
        """
        keys = {**self.keys, **changes}
        return from_dict(keys["method"], keys, self.name).to_dict()

    def options(self) -> Any:
        """The options of its method."""
        return from_dict(self.keys["method"], self.keys, self.name).options

    def check_teacher(self, named: bool) -> None:
        """Check that the plan names a teacher, with ``teacher_row``, if and only if one is used.

        Raises:
            UsageError: it does not.
        """
        options = self.options()
        if named and not hasattr(options, "teacher"):
            raise UsageError(
                f"{self.name}: the method {self.keys['method']} has no teacher; omit teacher_row"
            )
        if not named and hasattr(options, "check_teacher"):
            try:
                options.check_teacher()
            except UsageError as error:
                raise UsageError(
                    f"{self.name}: a teacher is missing; set teacher_row to a row that trains one"
                ) from error


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    #: method/network[/variant]
    name: str
    members: tuple[Member, ...]
    seeds: tuple[int, ...]
    #: Row whose first run is the teacher of every seed.
    teacher: str | None
    #: Rows that this one is compared with, seed by seed and image by image.
    controls: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparisonPlan:
    """Rows and tuning of a comparison, fixed before the first run."""

    rows: Mapping[str, Row]
    tuning: Tuning


def read_plan(path: Path) -> ComparisonPlan:
    """Read a plan from a YAML file.

    ``keys`` apply to every run. A row adds its own keys. ``like: ROW`` starts from that row's keys
    and uses its learning rate; ``seeds`` replaces the plan's seeds; ``teacher_row: ROW`` names the
    row that trains the teacher; ``control: ROW``, or a list of rows, names what the row is
    compared with; a list as ``modality`` trains one network for each entry.

    Raises:
        UsageError: an unknown row, key or network, a value of the wrong type or out of range, or a
            row without a method or without the teacher that its method needs.
    """
    document = read_yaml(path)
    _check_keys(document, PLAN_KEYS, str(path))
    sections = [document.get(key) or {} for key in ("tune", "keys", "rows")]
    if not all(isinstance(section, dict) for section in sections) or not document.get("rows"):
        raise UsageError(f"{path} needs three mappings: tune (lr, epochs, seed), keys and rows")
    tune, common, raw = sections
    tuning = _tuning(tune, f"{path}, tune")
    rows: dict[str, Row] = {}
    for name, own in raw.items():
        where = f"{path}, {shown(name)[1:-1] if isinstance(name, str) else shown(name)}"
        if not isinstance(name, str) or not NAME.fullmatch(name) or name == COMPARISONS:
            raise UsageError(f"{where}: name rows method/network[/variant]")
        if not isinstance(own, dict):
            raise UsageError(f"{where}: a row must be a mapping of keys, got {shown(own)}")
    for name, own in raw.items():
        where = f"{path}, {name}"
        keys = {**common, **_inherited(raw, name, where)}
        seeds = own.get("seeds", document.get("seeds"))
        rows[name] = _row(name, own.get("like") or name, keys, seeds, tuning, rows, where)
    return ComparisonPlan(rows, tuning)


def _row(
    name: str,
    tuned_as: str,
    keys: dict[str, Any],
    seeds: Any,
    tuning: Tuning,
    above: Mapping[str, Row],
    where: str,
) -> Row:
    if "method" not in keys:
        raise UsageError(f"{where}: a row needs a method")
    if own := [key for key in OWN if key in keys]:
        raise UsageError(f"{where}: {own[0]} is not a key of a row; the plan sets it for every "
                         "run (seeds, tune.lr, teacher_row)")  # fmt: skip
    seeds = convert(seeds, tuple[int, ...], f"{where}: seeds")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"{where}: seeds must be one or more different numbers, got {seeds}")
    if tuning.seed in seeds:
        raise UsageError(f"{where}: seed {tuning.seed} is reserved for tuning")
    teacher, control = keys.pop("teacher_row", None), keys.pop("control", ())
    controls = tuple(control) if isinstance(control, list) else (control,) if control else ()
    for row in (teacher, tuned_as, *controls):
        if row is not None and row != name and not _is_row(row, above):
            raise UsageError(f"{where}: {unknown_name('row', row, above)}; define it above {name}")
    if teacher and len(above[teacher].members) > 1:
        raise UsageError(f"{where}: teacher_row {teacher} trains several networks; "
                         "name a row that trains one")  # fmt: skip
    members = tuple(_members(name, tuned_as, keys))
    for member in members:
        try:
            member.check_teacher(teacher is not None)
            for rate in tuning.lr:
                member.resolved(lr=rate, seed=tuning.seed, epochs=tuning.epochs)
            for seed in seeds:
                member.resolved(seed=seed)
        except UsageError as error:
            why = str(error).removeprefix(f"{member.name}: ")
            raise UsageError(f"{where}: {why}") from error
    for row in controls:
        if row == name or not set(seeds) & set(above[row].seeds):
            raise UsageError(f"{where}: control {row} must be another row with a seed in common")
    return Row(name, members, seeds, teacher, controls)


def _is_row(name: Any, rows: Mapping[str, Any]) -> bool:
    return isinstance(name, str) and name in rows


def _check_keys(section: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in section:
        if key not in known:
            raise UsageError(f"{where}: {unknown_name('key', key, known)}")


def _tuning(tune: Mapping[str, Any], where: str) -> Tuning:
    _check_keys(tune, TUNE_KEYS, where)
    rates = convert(tune.get("lr"), tuple[float, ...], f"{where}: lr")
    if not rates or len(set(rates)) < len(rates):
        raise UsageError(f"{where}: lr must be one or more different rates, got {list(rates)}")
    epochs, seed = (convert(tune.get(key), int, f"{where}: {key}") for key in ("epochs", "seed"))
    return Tuning(rates, epochs, seed)


def _inherited(raw: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    own = dict(raw[name])
    like = own.pop("like", None)
    own.pop("seeds", None)
    if like is None:
        return own
    if not _is_row(like, raw):
        raise UsageError(f"{where}: {unknown_name('row', like, raw)}")
    base = dict(raw[like])
    base.pop("seeds", None)
    if "like" in base:
        raise UsageError(f"{where}: {like} is itself a variant of {base['like']}; use that row")
    return {**base, **own}


def _members(name: str, tuned_as: str, keys: Mapping[str, Any]) -> list[Member]:
    modality = keys.get("modality")
    if not isinstance(modality, list):
        return [Member(name, keys, tuned_as)]
    return [
        Member(f"{name}/{one}", {**keys, "modality": one}, f"{tuned_as}/{one}") for one in modality
    ]
