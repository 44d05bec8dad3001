# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Plan of a comparison: rows of runs, their seeds and how learning rates are tuned, from YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import from_dict
from training.options import UsageError, convert, lookup, read_yaml

#: Keys that the plan itself gives every run.
OWN = ("seed", "lr", "teacher", "out", "resume", "overwrite")
#: A row's name is also a folder.
NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")


@dataclass(frozen=True)
class Tuning:
    """Every row's learning rate is chosen on the validation split, each with the same budget.

    One rate alone is every row's; nothing is tuned then.
    """

    lr: tuple[float, ...]
    epochs: int
    #: None of the seeds that are compared.
    seed: int


@dataclass(frozen=True)
class Member:
    """One training of a row; a pair of single-modality networks has two."""

    name: str
    #: Of the run, as in a recipe; neither seed nor learning rate nor teacher.
    keys: Mapping[str, Any]
    #: Whose tuned learning rate it takes: its own or that of the row it is a variant of.
    tuned_as: str

    def resolved(self, **changes: Any) -> dict[str, Any]:
        """Every key of its runs, those that were left out too.

        Raises:
            UsageError: an unknown key, or a value of a wrong type or range.
        """
        keys = {**self.keys, **changes}
        return from_dict(keys["method"], keys, self.name).to_dict()


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    #: method/network[/variant]
    name: str
    members: tuple[Member, ...]
    seeds: tuple[int, ...]
    #: The row whose first run is the teacher; one teacher for every seed.
    teacher: str | None


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared, fixed before the first run."""

    rows: Mapping[str, Row]
    tuning: Tuning


def read_plan(path: Path) -> ComparisonPlan:
    """The plan of a YAML file.

    ``keys`` are those of every run. A row holds its own keys and may say ``like: ROW`` (its keys
    and learning rate, then its own changes), ``seeds``, ``teacher_row: ROW``, and a list as
    ``modality``, for one training each.

    Raises:
        UsageError: an unknown row or key, a value of a wrong type or range, a row without method.
    """
    document = read_yaml(path)
    sections = [document.get(key) or {} for key in ("tune", "keys", "rows")]
    if not all(isinstance(section, dict) for section in sections) or not document.get("rows"):
        raise UsageError(f"{path} needs mappings: tune (lr, epochs, seed), keys and rows")
    tune, common, raw = sections
    tuning = _tuning(tune, f"{path}, tune")
    rows: dict[str, Row] = {}
    for name, own in raw.items():
        where = f"{path}, {name}"
        if not NAME.fullmatch(str(name)):
            raise UsageError(f"{where}: a row is named method/network[/variant]")
        if not isinstance(own, dict):
            raise UsageError(f"{where}: a row needs keys, got {own!r}")
        keys = {**common, **_inherited(raw, name, where)}
        seeds = own.get("seeds", document.get("seeds"))
        rows[name] = _row(name, own.get("like", name), keys, seeds, tuning, rows, where)
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
        raise UsageError(f"{where}: {own[0]} is no key of a row: the plan gives every run its own "
                         "(seeds, tune.lr, teacher_row)")  # fmt: skip
    seeds = convert(seeds, tuple[int, ...], f"{where}: seeds")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"{where}: seeds must be some different numbers, got {seeds}")
    if tuning.seed in seeds:
        raise UsageError(f"{where}: seed {tuning.seed} is the one for tuning")
    teacher = keys.pop("teacher_row", None)
    for row in (teacher, tuned_as):
        if row is not None and row != name:
            lookup(f"row above {name}", row, above)
    if teacher and len(above[teacher].members) > 1:
        raise UsageError(f"{where}: teacher_row {teacher} trains several networks; "
                         "name a row of one")  # fmt: skip
    members = tuple(_members(name, tuned_as, keys))
    for member in members:
        for rate in tuning.lr:
            member.resolved(lr=rate, seed=tuning.seed, epochs=tuning.epochs)
        for seed in seeds:
            member.resolved(seed=seed)
    return Row(name, members, seeds, teacher)


def _tuning(tune: Mapping[str, Any], where: str) -> Tuning:
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
    base = dict(lookup(f"row of {where}", like, raw))
    base.pop("seeds", None)
    if "like" in base:
        raise UsageError(f"{where}, {name}: {like} is itself like {base['like']}; name that one")
    return {**base, **own}


def _members(name: str, tuned_as: str, keys: Mapping[str, Any]) -> list[Member]:
    modality = keys.get("modality")
    if not isinstance(modality, list):
        return [Member(name, keys, tuned_as)]
    return [
        Member(f"{name}/{one}", {**keys, "modality": one}, f"{tuned_as}/{one}") for one in modality
    ]
