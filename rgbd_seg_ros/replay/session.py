# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One replay from bag to files: connects source, core, engine, scores and outputs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.topics import choose_topics
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.files import write_atomically
from rgbd_seg_ros.frames import STREAMS
from rgbd_seg_ros.gravity import DEFAULT_FRAME
from rgbd_seg_ros.inference import Engine
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.progress import progress_bar, say
from rgbd_seg_ros.replay.criteria import verdict
from rgbd_seg_ros.replay.depth_median import DepthMedian
from rgbd_seg_ros.replay.depth_unit import with_recorded_unit
from rgbd_seg_ros.replay.failed_sensors import FailedSensors
from rgbd_seg_ros.replay.fault_checks import idle_faults, idle_warnings, too_short
from rgbd_seg_ros.replay.fault_presets import random_faults
from rgbd_seg_ros.replay.faults import FaultSchedule
from rgbd_seg_ros.replay.film import FilmMaker
from rgbd_seg_ros.replay.junit_file import JunitSuite, failure, junit
from rgbd_seg_ros.replay.ordered_worker import OrderedWorker
from rgbd_seg_ros.replay.output_folder import OutputFolder
from rgbd_seg_ros.replay.read_ahead import read_ahead
from rgbd_seg_ros.replay.recorder import Recorder
from rgbd_seg_ros.replay.replay_options import ReplayOptions
from rgbd_seg_ros.replay.replay_parts import ReplayParts, score_without_faults
from rgbd_seg_ros.replay.report import ReportedReplay, render
from rgbd_seg_ros.replay.rerun_output import RerunOutput
from rgbd_seg_ros.replay.run_facts import run_facts
from rgbd_seg_ros.replay.runner import Replay, ReplayResult
from rgbd_seg_ros.replay.score import Scorer
from rgbd_seg_ros.replay.slow_streams import patient_config
from rgbd_seg_ros.replay.snapshots import Snapshot, SnapshotCollector
from rgbd_seg_ros.replay.source import Arrival, BagSource, TransformArrival
from rgbd_seg_ros.replay.speed import SpeedMeter
from rgbd_seg_ros.replay.stamps import choose_stamps
from rgbd_seg_ros.replay.statistics import ReplayStatistics
from rgbd_seg_ros.replay.summary import add_unused_streams

#: Format of the progress bar, which counts milliseconds of bag time.
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
EQUAL_TIMES = (
    "all messages have the same receive time, so the stamps of their headers are used instead; "
    "record or convert with receive times"
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The results of a replay."""

    #: The keys of ``replay --json``, see docs/replay.md.
    summary: dict[str, Any]
    snapshots: list[Snapshot]
    labels: LabelSet
    #: Stamps of the masks in nanoseconds, in the order in which they were computed.
    stamps_ns: list[int]
    #: Pictures for the report; empty unless there is an output folder.
    film: FilmMaker

    def reported(self, title: str) -> ReportedReplay:
        """The replay in a report."""
        pictures = self.film.frames, self.film.strips
        return ReportedReplay(title, self.summary, self.snapshots, *pictures)


def replay_bag(
    options: ReplayOptions,
    load_engine: Callable[[], Engine],
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Replay one bag and write the requested outputs.

    Args:
        options: see :class:`ReplayOptions`.
        load_engine: returns the engine; called after the bag has been checked.
        interrupted: called before each message; the replay ends early, with complete outputs,
            when it returns True.

    Raises:
        BagError: a bag or topic is unusable.
        OutputError, ReplayError: an output or option is unusable.
    """
    options.check()
    with ExitStack() as stack:
        reader = stack.enter_context(BagReader(options.bag))
        topics = choose_topics(reader, options.topics)
        time_notes = [EQUAL_TIMES] if reader.replace_equal_times(list(topics.streams)) else []
        options, depth_notes = with_recorded_unit(options, reader, topics)
        config, slow_notes = patient_config(reader, topics, options.config)
        options = replace(options, config=config)
        duration_s = (reader.end_ns - reader.start_ns) / 1e9
        if options.random_faults is not None:
            drawn = random_faults(options.random_faults, duration_s)
            faults = FaultSchedule(drawn, name=f"--random-faults {options.random_faults}")
        else:
            faults = options.faults.fitted(duration_s)
        options = replace(options, faults=faults)
        limits = config.max_age_s, config.max_future_s, config.max_wait_ms
        stamps = choose_stamps(reader, topics, options.stamps, *limits)
        engine = load_engine()
        parts = ReplayParts(options, reader, topics, stamps, engine)
        parts.check_truth()
        source, replay = parts.start(faults)
        worker = OrderedWorker()
        session = _Session(parts, replay, stack, worker)
        notes = (
            *reader.notes,
            *topics.notes,
            *time_notes,
            *depth_notes,
            *slow_notes,
            *stamps.warnings,
        )
        for text in (*options.unused(), *options.faults.warnings, *notes):
            session.warn(text)
        if not parts.has_truth:
            for text in options.useless_without_truth():
                session.warn(text)
        if options.random_faults is not None and not options.faults.faults:
            session.warn("--random-faults has no fault in so short a recording; use --faults")
        if options.consistency and not {"rgb", "depth"} & set(engine.available):
            session.warn("--consistency compares nothing, because the bundle has one network")
        if options.gravity_frame != DEFAULT_FRAME and not engine.need_intrinsics:
            session.warn("--gravity-frame is not used, because no network of the bundle reads HHA")
        started_s = time.perf_counter()
        with closing(read_ahead(source)) as ahead, worker:
            arrivals = session.arrivals(ahead, interrupted)
            add_truth = partial(worker.submit, session.scorer.add_truth)
            for result in replay.run(arrivals, add_truth, lambda: session.statistics.end_ns):
                session.add(result)
            session.fetch_from_core()
        session.seconds = time.perf_counter() - started_s - session.speed.alone_s
        baseline = None
        if options.without_faults and parts.has_truth and not session.interrupted:
            say("replaying once more without faults")
            baseline = score_without_faults(parts, session.phases, engine.labels, interrupted)
            session.interrupted = baseline is None
        return session.finish(source, stamps.name, baseline)


class _Session:
    """The outputs of one replay and their shared state.

    The stack closes the outputs, and deletes an incomplete bag after an error.
    """

    def __init__(
        self, parts: ReplayParts, replay: Replay, stack: ExitStack, worker: OrderedWorker
    ) -> None:
        self._worker = worker
        options, reader = parts.options, parts.reader
        self.parts, self.options, self.reader, self.topics = parts, options, reader, parts.topics
        self.labels = labels = parts.engine.labels
        self.interrupted = False
        self.duration_s = parts.duration_s
        #: How long the replay took on this machine, seconds.
        self.seconds = 0.0
        self.speed = SpeedMeter(parts.engine, options.config, replay.gravity, worker.wait)
        self.stamps_ns: list[int] = []
        self.phases = options.faults.phases(max(self.duration_s, 1e-9))
        self.statistics = ReplayStatistics(
            replay.core, reader.start_ns, reader.end_ns, replay.health, self._faults
        )
        self.depth = DepthMedian(options.given)
        seen = replay.core, replay.health, options.faults, reader.start_ns
        self.failed = FailedSensors(*seen, parts.engine.available)
        self.snapshots = SnapshotCollector(self.phases, labels, options.config, reader.start_ns)
        self.film = FilmMaker(labels, options.config, reader.start_ns, self.duration_s)
        self.scorer = parts.scorer(self.phases, options.truth, self.snapshots.add)
        self.folder: OutputFolder | None = None
        if options.out is not None:
            self.folder = OutputFolder(options.out, options.overwrite, masks=not options.no_masks)
            stack.callback(self.folder.close)
        self.recorder: Recorder | None = None
        if options.record is not None:
            writer = stack.enter_context(BagWriter(options.record, options.overwrite))
            self.recorder = Recorder(writer, labels, reader.start_ns)
        self.rerun: RerunOutput | None = None
        if options.rerun is not None:
            self.rerun = RerunOutput(options.rerun, labels)
            stack.callback(self.rerun.close)
        self._printed_warnings = 0

    def warn(self, text: str) -> None:
        """Print a warning and add it to the summary."""
        self.statistics.warnings.append(text)
        self._print_warnings()

    def arrivals(
        self, source: Iterable[Arrival | TransformArrival], interrupted: Callable[[], bool]
    ) -> Iterator[Arrival | TransformArrival]:
        """The arrivals up to the end of the bag or an interrupt."""
        label, total_ms = f"replay of {self.options.bag.name}", round(self.duration_s * 1000)
        with progress_bar(label, total_ms, bar_format=BAR) as bar:
            for arrival in source:
                if interrupted():
                    self.interrupted = True
                    self.statistics.end_ns = arrival.receive_ns
                    return
                if isinstance(arrival, Arrival):
                    self.failed.add_arrival(arrival)
                now_ms = int(self.statistics.seconds(arrival.receive_ns) * 1000)
                bar.set_postfix_str(f"{len(self.stamps_ns)} masks", refresh=False)
                bar.update(min(now_ms, total_ms) - bar.n)
                yield arrival
            bar.set_postfix_str(f"{len(self.stamps_ns)} masks", refresh=False)
            bar.update(total_ms - bar.n)

    def add(self, result: ReplayResult) -> None:
        """Count a mask; the worker passes it to all outputs."""
        self.fetch_from_core()
        self.statistics.add_mask(result)
        self.failed.add_mask(result)
        seconds = self.statistics.seconds(result.ready_ns)
        self.depth.add(result.job, self.options.config, seconds)
        self._worker.submit(self._output, result)
        self.stamps_ns.append(result.job.stamp_ns)
        self.speed.add(result)

    def _output(self, result: ReplayResult) -> None:
        self.statistics.add_labels(result)
        self.scorer.add_mask(result)
        if self.folder is not None:
            self.film.add(result)
            seconds = self.statistics.seconds(result.ready_ns)
            self.folder.add(result, self.labels, self.options.config, seconds)
        if self.recorder is not None:
            self.recorder.mask(result, self.options.config)
        if self.rerun is not None:
            self.rerun.mask(result, self.options.config)

    def finish(self, source: BagSource, stamps: str, baseline: Scorer | None) -> Outcome:
        """Write the summary and the report.

        Args:
            source: of the replay.
            stamps: ``stamps`` of the summary.
            baseline: scores of the replay without faults; None if there was none.
        """
        self.scorer.finish()
        self._warn_at_end()
        snapshots, name = self.snapshots.finish(), self.options.bag.name
        summary = {
            **self._summary(source, stamps),
            **self.statistics.summary(),
            **self.scorer.summary(baseline),
        }
        unused = add_unused_streams(summary, self.topics.unread)
        periods = {s: self.duration_s / (n - 1) for s, n in source.recorded.items() if n > 1}
        short = too_short(summary["fault_responses"], periods, self.options.config)
        statistics = self.statistics
        failed = self.failed.lines(statistics.end_ns, unused, statistics.from_core)
        for text in (*short, *unused.values(), *failed):
            self.warn(text)
        if unfused := self._not_fused(summary):
            self.warn(unfused)
            summary["unused_streams"] = sorted({*summary["unused_streams"], "depth"})
        criteria = self.options.criteria
        summary["verdict"] = verdict(criteria, summary) if criteria else None
        if path := self.options.junit:
            path.parent.mkdir(parents=True, exist_ok=True)
            problem = failure(summary)
            suite = JunitSuite(name, summary["verdict"], problem, summary["warnings"])
            write_atomically(path, junit([suite]))
        outcome = Outcome(summary, snapshots, self.labels, self.stamps_ns, self.film)
        if self.folder is not None:
            self.folder.finish(summary, render([outcome.reported(name)], self.labels))
        return outcome

    def _not_fused(self, summary: dict[str, Any]) -> str | None:
        """A line if the user has named a topic of depth and no mask is fused."""
        given, engine = self.options.topics.get("depth"), self.parts.engine
        possible = given == self.topics.depth and given and self.topics.rgb
        wanted = self.options.config.force_network in ("auto", "rgbd")
        if not possible or not wanted or "rgbd" not in engine.available or self.interrupted:
            return None
        if self.options.faults.faults or summary["networks"]["rgbd"]:
            return None
        return f"no mask is fused, although --depth-topic {given} was given; see the lines above"

    def _summary(self, source: BagSource, stamps: str) -> dict[str, Any]:
        """The keys of the summary that describe what was replayed and how."""
        names, schedule = ("rgb", "depth", "depth_raw", "truth"), self.options.faults
        return {
            "bag": str(self.options.bag),
            "topics": {name: topic for name in names if (topic := getattr(self.topics, name))},
            "stamps": stamps,
            "duration_s": round(self.duration_s, 3),
            "interrupted": self.interrupted,
            "damage": self.reader.damage,
            "classes": list(self.labels.classes),
            "fault_schedule": schedule.name or ("unnamed" if schedule.faults else None),
            "faults": self._faults(),
            "idle_faults": idle_faults(schedule),
            "speed": self.speed.summary(self.seconds),
            "run": run_facts(
                self.parts.engine, self.options.config, self.options.command, self.options.inputs
            ),
            "median_depth_m": self.depth.median_m,
            "dropped_by_faults": {s: source.dropped[s] for s in STREAMS if source.dropped[s]},
        }

    def _faults(self) -> list[dict[str, Any]]:
        schedule = self.options.faults
        return [
            {
                "stream": stream,
                "fault": fault.fault,
                "from": round(fault.from_s, 4),
                "to": None if math.isinf(fault.to_s) else round(fault.to_s, 4),
                "value": fault.value,
                "seed": fault.seed,
                "frames": schedule.reached[index, stream],
            }
            for index, fault in enumerate(schedule.faults)
            for stream in fault.streams
        ]

    def _warn_at_end(self) -> None:
        """Warn about problems that are known only at the end of the replay."""
        if self.reader.damage:
            self.warn(f"{self.options.bag} is damaged: {self.reader.damage}")
        for text in self.reader.warnings:
            self.warn(text)
        unit = self.depth.warning(self.options.config)
        if unit and not any(fault.fault == "units" for fault in self.options.faults.faults):
            self.warn(unit)
        for text in self.scorer.notes:
            self.warn(text)
        folder = self.options.truth
        if self.parts.has_truth and self.stamps_ns and not self.scorer.has_truth:
            place = f"in {folder.path}" if folder is not None else f"on {self.topics.truth}"
            window = f"{self.options.truth_window_ms:g} ms"
            self.warn(
                f"no mask has ground truth {place} within {window} of its stamp, so "
                "there are no scores; does the ground truth have the stamps of the images?"
            )
        elif folder is not None and not self.interrupted and len(folder.used) < len(folder):
            self.warn(
                f"{len(folder) - len(folder.used)} of {len(folder)} images in {folder.path} "
                "belong to no mask; is it the ground truth of this recording?"
            )
        used = set(self.topics.streams.values())
        for text in idle_warnings(self.options.faults, used, self.duration_s):
            if not self.interrupted:
                self.warn(text)

    def fetch_from_core(self) -> None:
        """Report the core's new mode changes and warnings."""
        known = len(self.statistics.switches)
        self.statistics.fetch_from_core()
        self._print_warnings()
        for switch in self.statistics.switches[known:]:
            change = switch.change
            say(f"{self.statistics.seconds(change.t_ns):8.3f} s  {change}")
            if self.recorder is not None:
                self._worker.submit(self.recorder.mode, change.to_mode, change.t_ns)
            if self.rerun is not None:
                self._worker.submit(self.rerun.mode, change.to_mode, change.t_ns)

    def _print_warnings(self) -> None:
        for text in self.statistics.warnings[self._printed_warnings :]:
            say(f"warning: {text}")
        self._printed_warnings = len(self.statistics.warnings)
