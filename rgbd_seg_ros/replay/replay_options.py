# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Options of a replay: what to replay, how, and which outputs to write, with their checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rgbd_seg_ros.bag.topics import NONE
from rgbd_seg_ros.bag.writer import check_output
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.files import check_output_folder, check_writable
from rgbd_seg_ros.frames import NS_PER_MS
from rgbd_seg_ros.gravity import DEFAULT_FRAME
from rgbd_seg_ros.replay.class_map import read_class_map
from rgbd_seg_ros.replay.criteria import Criterion
from rgbd_seg_ros.replay.faults import MAX_SEED, FaultSchedule
from rgbd_seg_ros.replay.report import load_template
from rgbd_seg_ros.replay.rerun_output import check_rerun
from rgbd_seg_ros.replay.runner import ReplayError
from rgbd_seg_ros.replay.score import TOLERANCE_NS
from rgbd_seg_ros.replay.stamps import Stamps
from rgbd_seg_ros.replay.truth_folder import TruthFolder

#: Largest window between a mask and its ground truth, milliseconds.
MAX_WINDOW_MS = 1000


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, how, and which outputs to write."""

    bag: Path
    #: Map from field of :class:`rgbd_seg_ros.bag.topics.Topics` to topic; others are chosen.
    topics: Mapping[str, str | None] = field(default_factory=dict)
    stamps: Stamps = "auto"
    faults: FaultSchedule = field(default_factory=FaultSchedule)
    #: Seed of a random schedule, which replaces ``faults``; None for ``faults``.
    random_faults: int | None = None
    config: CoreConfig = field(default_factory=CoreConfig)
    #: Parameters that the user has set, and ``depth_scale`` if the recording states it.
    given: frozenset[str] = frozenset()
    #: Bag time that one mask takes; 0 for an engine that is always free.
    engine_latency_ms: float = 0.0
    #: Also score the fused network with a blank image wherever one stream is missing.
    without_fallback: bool = False
    #: Also replay without faults, to score what the faults cost.
    without_faults: bool = False
    #: Also run all networks on one fused frame pair per second, to compare their masks.
    consistency: bool = False
    #: Frame whose z axis points up, for networks whose input is HHA; empty: estimate gravity.
    gravity_frame: str = DEFAULT_FRAME
    #: Folder with ground truth, instead of a topic.
    truth: TruthFolder | None = None
    #: YAML file that translates the class ids of the ground truth; None if they are the bundle's.
    class_map: Path | None = None
    #: Largest difference between the stamps of a mask and its ground truth, milliseconds.
    truth_window_ms: float = TOLERANCE_NS / NS_PER_MS
    #: Conditions on the measures, see docs/replay.md; empty for no verdict.
    criteria: tuple[Criterion, ...] = ()
    #: JUnit file for the verdict; None to write none.
    junit: Path | None = None
    #: Folder for masks, overlays, summary and report; None to write none.
    out: Path | None = None
    #: Write no masks and overlays to ``out``, only the summary and the report.
    no_masks: bool = False
    #: Bag to write; None to write none.
    record: Path | None = None
    #: File for the Rerun viewer; None to write none.
    rerun: Path | None = None
    overwrite: bool = False
    #: Words of the command line, for the report; empty if there was none.
    command: tuple[str, ...] = ()
    #: File of the criteria, for the report.
    criteria_file: Path | None = None

    @property
    def inputs(self) -> dict[str, Path]:
        """Files and folders that decide about the results, by what they are."""
        schedule = Path(self.faults.name) if self.faults.name else None
        found = {
            "recording": self.bag,
            "faults": schedule if schedule is not None and schedule.is_file() else None,
            "ground truth": self.truth.path if self.truth is not None else None,
            "class map": self.class_map,
            "criteria": self.criteria_file,
        }
        return {what: path for what, path in found.items() if path is not None}

    def check(self) -> None:
        """Raise a ValueError for an unusable option or output, before anything slow is done."""
        if not 0 <= self.engine_latency_ms < math.inf:
            raise ReplayError(
                f"--engine-latency must be 0 ms or more, got {self.engine_latency_ms:g}"
            )
        if not 0 <= self.truth_window_ms <= MAX_WINDOW_MS:
            raise ReplayError(
                f"--truth-window must be 0 to {MAX_WINDOW_MS} ms, got {self.truth_window_ms:g}"
            )
        if self.truth is not None and self.topics.get("truth") not in (None, NONE):
            raise ReplayError("--truth and --truth-topic both name ground truth; use one")
        if self.class_map is not None:
            read_class_map(self.class_map)
        if self.random_faults is not None and not 0 <= self.random_faults <= MAX_SEED:
            raise ReplayError(f"--random-faults must be 0 to {MAX_SEED}, got {self.random_faults}")
        if self.out is not None:
            check_output_folder(self.out, self.overwrite)
            load_template()
        if self.rerun is not None:
            check_rerun(self.rerun, self.overwrite)
        if self.junit is not None:
            self._check_junit(self.junit)
        if self.record is not None:
            bag = self.bag.resolve()
            if self.record.resolve() in (bag, *bag.parents):
                raise ReplayError(f"--record {self.record} would replace the bag that is replayed")
            if self.out is not None and self.record.resolve() == self.out.resolve():
                raise ReplayError(f"--record and --out are both {self.out}; use two folders")
            check_writable(self.record, "--record")
            check_output(self.record, self.overwrite)

    def _check_junit(self, path: Path) -> None:
        if not self.criteria:
            raise ReplayError("--junit has no verdict to write without --criteria; add it")
        if path.is_dir() or (path.exists() and not self.overwrite):
            remedy = "is a folder; name a file" if path.is_dir() else "exists; use --overwrite"
            raise ReplayError(f"--junit {path} {remedy}")
        check_writable(path.parent, "--junit")

    def useless_without_truth(self) -> Iterator[str]:
        """One warning for each option that changes nothing in a replay without ground truth."""
        missing = "without --truth or --truth-topic"
        if round(self.truth_window_ms * NS_PER_MS) != TOLERANCE_NS:
            yield f"--truth-window changes nothing {missing}"
        if self.class_map:
            yield f"--class-map changes nothing {missing}"
        if self.without_fallback:
            yield f"--without-fallback scores nothing {missing}"
        if self.without_faults:
            yield f"--without-faults scores nothing {missing}"

    def unused(self) -> Iterator[str]:
        """One warning for each option that changes nothing."""
        if self.overwrite and not any((self.out, self.record, self.rerun, self.junit)):
            options = "--out, --record, --rerun or --junit"
            yield f"--overwrite changes nothing without {options}; omit it"
        if self.no_masks and self.out is None:
            yield "--no-masks changes nothing without --out; omit it"
        if self.without_faults and not self.faults.faults and self.random_faults is None:
            yield "--without-faults compares nothing without --faults; omit it"
        if self.topics.get("truth") == NONE:
            yield (
                f"--truth-topic {NONE} changes nothing, because ground truth is never chosen "
                "automatically; omit it"
            )
