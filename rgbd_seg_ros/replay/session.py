# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One replay from bag to files: ties source, core, engine, scores and outputs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.topics import Topics, choose_topics
from rgbd_seg_ros.bag.writer import check_place
from rgbd_seg_ros.fallback import Core, CoreConfig
from rgbd_seg_ros.frames import NETWORKS, STREAMS
from rgbd_seg_ros.gravity import DEFAULT_FRAME, Gravity
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.faults import FaultSchedule
from rgbd_seg_ros.replay.output_folder import Folder, check_folder
from rgbd_seg_ros.replay.progress import Progress
from rgbd_seg_ros.replay.recorder import Recorder
from rgbd_seg_ros.replay.report import render
from rgbd_seg_ros.replay.runner import Engine, Replay, ReplayResult
from rgbd_seg_ros.replay.score import PhaseScore, Scorer, iou_table, rounded
from rgbd_seg_ros.replay.snapshots import Snapshot, SnapshotCollector
from rgbd_seg_ros.replay.source import Arrival, BagSource, Stamps, choose_stamps
from rgbd_seg_ros.replay.statistics import ReplayStatistics


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay and what to make of it."""

    bag: Path
    #: Fields of :class:`rgbd_seg_ros.bag.topics.Topics` to topics; the rest is found.
    topics: Mapping[str, str | None] = field(default_factory=dict)
    stamps: Stamps = "auto"
    faults: FaultSchedule = field(default_factory=FaultSchedule)
    config: CoreConfig = field(default_factory=CoreConfig)
    #: Bag time that one mask takes; 0 for an engine that is always free.
    engine_latency_ms: float = 0.0
    #: Also score the fused network with an empty partner wherever the fallback serves.
    compare: bool = False
    #: Frame whose z axis points up, for networks that read HHA; empty: estimate gravity.
    gravity_frame: str = DEFAULT_FRAME
    #: Folder for masks, overlays, summary and report; None for none of them.
    out: Path | None = None
    #: Bag to write; None for none.
    record: Path | None = None
    overwrite: bool = False

    def check_places(self) -> None:
        """Raise BagError for outputs that are in the way, before anything slow is done."""
        if self.out is not None:
            check_folder(self.out, self.overwrite)
        if self.record is not None:
            bag = self.bag.resolve()
            if self.record.resolve() in (bag, *bag.parents):
                raise BagError(f"--record {self.record} would replace the bag it is made from")
            if self.out is not None and self.record.resolve() == self.out.resolve():
                raise BagError(f"--record and --out are both {self.out}; give each its own folder")
            check_place(self.record, self.overwrite)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a replay."""

    #: See the JSON keys of ``replay --json``.
    summary: dict[str, Any]
    strips: list[Snapshot]
    labels: LabelSet
    #: The masks' stamps in nanoseconds, in the order in which they were made.
    stamps_ns: list[int]


def say(text: str) -> None:
    """A line for people; stdout is for results."""
    over_progress = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{over_progress}{text}", file=sys.stderr)


def replay_bag(
    options: ReplayOptions,
    load_engine: Callable[[], Engine],
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Replay one bag and write what the options ask for.

    Args:
        options: see there.
        load_engine: gives what makes the masks; called once the bag has proved to be usable.
        interrupted: asked before each message; once it says True, all ends in good order.

    Raises:
        BagError: a bag, topic or output that cannot be used.
    """
    options.check_places()
    with ExitStack() as stack:
        reader = stack.enter_context(BagReader(options.bag))
        topics = choose_topics(reader, options.topics)
        for field_name in ("rgb", "depth"):
            if getattr(topics, field_name) is None:
                say(f"no {field_name} topic in this bag; choose one with --{field_name}-topic")
        stamps, warning = choose_stamps(reader, topics, options.stamps, options.config.max_age_s)
        engine = load_engine()
        needs = getattr(engine, "need_intrinsics", ())
        gravity = Gravity(options.gravity_frame, say)
        transforms = gravity.tree if needs else None
        source = BagSource(reader, topics, options.faults, stamps, transforms)
        core = Core(options.config, engine.available, needs)
        session = _Session(options, reader, topics, core, engine.labels, stack)
        if warning:
            session.warn(warning)

        replay = Replay(core, engine, options.engine_latency_ms, options.compare, gravity)
        arrivals = session.watched(source, interrupted)
        try:
            for made in replay.run(arrivals, session.scorer.add_truth):
                session.add(made)
            return session.finish(source, stamps)
        except BaseException:
            session.abort()
            raise


class _Session:
    """The outputs of one replay and what they share."""

    def __init__(
        self,
        options: ReplayOptions,
        reader: BagReader,
        topics: Topics,
        core: Core,
        labels: LabelSet,
        stack: ExitStack,
    ) -> None:
        self.options, self.reader, self.topics, self.core = options, reader, topics, core
        self.labels = labels
        self.interrupted = False
        self.start_ns = reader.start_ns
        self.duration_s = (reader.end_ns - reader.start_ns) / 1e9
        phases = options.faults.phases(max(self.duration_s, 1e-9))
        self.album = SnapshotCollector(phases, labels, options.config, self.start_ns)
        self.scorer = Scorer(
            labels, phases, self.start_ns, topics.truth is not None, self.album.add
        )
        self.tally = ReplayStatistics(core, self.start_ns, reader.end_ns)
        self._told = 0
        self.stamps_ns: list[int] = []
        self.folder: Folder | None = None
        if options.out is not None:
            self.folder = Folder(options.out, options.overwrite)
            stack.callback(self.folder.close)
        self.recorder: Recorder | None = None
        if options.record is not None:
            self.recorder = Recorder(options.record, options.overwrite, labels, self.start_ns)
        self._progress = Progress(f"replay of {options.bag.name}", self.duration_s)

    def warn(self, text: str) -> None:
        """Tell people, and remember for the summary."""
        self.tally.warnings.append(text)
        self._tell()

    def watched(self, source: Iterable[Arrival], interrupted: Callable[[], bool]) -> Iterator[Any]:
        """The arrivals, until the bag ends or somebody interrupts."""
        for arrival in source:
            if interrupted():
                self.interrupted = True
                self.tally.end_ns = arrival.receive_ns
                return
            self._progress.update(
                self.tally.seconds(arrival.receive_ns), f"{len(self.stamps_ns)} masks"
            )
            yield arrival

    def add(self, made: ReplayResult) -> None:
        """A mask was made."""
        self._changes()
        self.tally.mask(made)
        self.scorer.add_mask(made)
        self.stamps_ns.append(made.job.stamp_ns)
        if self.folder is not None:
            seconds = self.tally.seconds(made.ready_ns)
            self.folder.add(made, self.labels, self.options.config, seconds)
        if self.recorder is not None:
            self.recorder.mask(made, self.options.config)

    def abort(self) -> None:
        """Leave no half bag."""
        if self.recorder is not None:
            self.recorder.abort()

    def finish(self, source: BagSource, stamps: str) -> Outcome:
        """Close all outputs."""
        self._changes()
        self.scorer.finish()
        self._progress.finish(f"{len(self.stamps_ns)} masks")
        if self.reader.damage:
            self.warn(f"{self.options.bag} is damaged: {self.reader.damage}")
        if self.topics.truth and self.stamps_ns and not self.scorer.has_truth:
            self.warn(
                f"no mask has a true mask on {self.topics.truth} within 20 ms of its stamp, so "
                "there are no scores; is the truth stamped as the pictures are?"
            )
        schedule = self.options.faults
        for fault, hits in zip(schedule.faults, schedule.hits, strict=True):
            if not hits and not self.interrupted:
                self.warn(
                    f"fault {fault} from {fault.from_s:g} s hits nothing: the recording lasts "
                    f"{self.duration_s:.1f} s"
                )
        strips = self.album.strips()
        summary = self._summary(source, stamps)
        if self.recorder is not None:
            self.recorder.close()
        if self.folder is not None:
            report = render([(self.options.bag.name, summary, strips)], self.labels)
            self.folder.finish(summary, report)
        return Outcome(summary, strips, self.labels, self.stamps_ns)

    def _changes(self) -> None:
        known = len(self.tally.switches)
        self.tally.changes()
        self._tell()
        for switch in self.tally.switches[known:]:
            words = f"{switch.from_mode.value} -> {switch.to_mode.value}"
            say(f"{self.tally.seconds(switch.t_ns):8.3f} s  {words}: {switch.reason}")
            if self.recorder is not None:
                self.recorder.mode(switch.to_mode, switch.t_ns)

    def _tell(self) -> None:
        for text in self.tally.warnings[self._told :]:
            say(f"warning: {text}")
        self._told = len(self.tally.warnings)

    def _summary(self, source: BagSource, stamps: str) -> dict[str, Any]:
        scorer, scored = self.scorer, self.scorer.has_truth
        classes = self.labels.classes
        matrices = {n: scorer.by_network[n] for n in NETWORKS if self.tally.networks[n]}
        topics = {
            name: getattr(self.topics, name)
            for name in ("rgb", "depth", "depth_raw", "truth")
            if getattr(self.topics, name)
        }
        return {
            "bag": str(self.options.bag),
            "topics": topics,
            "stamps": stamps,
            "duration_s": round(self.duration_s, 3),
            "interrupted": self.interrupted,
            "damage": self.reader.damage,
            "classes": list(classes),
            **self.tally.summary(),
            "dropped_by_faults": {s: source.dropped[s] for s in STREAMS if source.dropped[s]},
            "miou": rounded(scorer.total.miou) if scored else None,
            "miou_all": rounded(scorer.total.miou_all) if scored else None,
            "miou_by_network": {n: rounded(m.miou) for n, m in matrices.items()} if scored else {},
            "iou_by_network": {n: iou_table(m, classes) for n, m in matrices.items()}
            if scored
            else {},
            "unscored": scorer.unscored if self.topics.truth else None,
            "faults": [
                {
                    "stream": stream,
                    "fault": fault.fault,
                    "from": fault.from_s,
                    "to": None if math.isinf(fault.to_s) else fault.to_s,
                }
                for fault in self.options.faults.faults
                for stream in fault.streams
            ],
            "phases": [_phase(score) for score in scorer.phases],
            "timeline": {
                "modes": [[round(a, 3), round(b, 3), m] for a, b, m in self.tally.timeline],
                "networks": [[round(a, 3), round(b, 3), n] for a, b, n in self.tally.network_runs],
            },
        }


def _phase(score: PhaseScore) -> dict[str, Any]:
    """``miou_fallback`` and ``miou_without_fallback`` are over the same instants."""
    return {
        "name": score.phase.name,
        "streams": list(score.phase.streams),
        "from": round(score.phase.from_s, 3),
        "to": round(score.phase.to_s, 3),
        "masks": score.masks,
        "networks": score.networks,
        "miou": rounded(score.score.miou),
        "miou_fallback": rounded(score.fallback.miou),
        "miou_without_fallback": rounded(score.without_fallback.miou),
    }
