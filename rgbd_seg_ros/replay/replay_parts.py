# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Parts of a replay that are made anew for each pass over a recording: source, core and loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.topics import Topics
from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.frames import NS_PER_MS, Defect, Frame, Stream
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.images import to_mask
from rgbd_seg_ros.inference import Engine
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.metrics import ConfusionMatrix
from rgbd_seg_ros.progress import say
from rgbd_seg_ros.replay.class_map import ClassMap
from rgbd_seg_ros.replay.faults import FaultSchedule, Phase
from rgbd_seg_ros.replay.read_ahead import read_ahead
from rgbd_seg_ros.replay.replay_options import ReplayOptions
from rgbd_seg_ros.replay.runner import Replay, ReplayResult
from rgbd_seg_ros.replay.score import Mask, Scorer, count_pixels
from rgbd_seg_ros.replay.source import BagSource
from rgbd_seg_ros.replay.stamps import StampChoice
from rgbd_seg_ros.replay.truth_folder import TruthFolder


@dataclass(frozen=True, eq=False)
class ReplayParts:
    """What the passes over one recording have in common."""

    options: ReplayOptions
    reader: BagReader
    topics: Topics
    stamps: StampChoice
    engine: Engine

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last message."""
        return (self.reader.end_ns - self.reader.start_ns) / 1e9

    @property
    def has_truth(self) -> bool:
        """Whether there is ground truth."""
        return self.topics.truth is not None or self.options.truth is not None

    def check_truth(self) -> None:
        """Check the first image of the ground truth, before the replay and its outputs begin.

        Raises:
            BagError, TruthError: it is no mask, its class ids are not those of the bundle or of
                the class map, or the class map names a class that the bundle does not have.
        """
        options, labels = self.options, self.engine.labels
        class_map = ClassMap(options.class_map, labels) if options.class_map else None
        truth: Frame | None = None
        if options.truth is not None:
            truth = options.truth.first()
        elif self.topics.truth is not None:
            message = self.reader.first(self.topics.truth)
            found = None if message is None else to_mask(message)
            if isinstance(found, Defect):
                raise BagError(
                    f"ground-truth topic {self.topics.truth} is not usable: {found.detail}"
                )
            truth = found
        if truth is not None:
            array = truth.array if class_map is None else class_map(truth.array)
            count_pixels(ConfusionMatrix(len(labels)), array, array)

    def start(self, faults: FaultSchedule) -> tuple[BagSource, Replay]:
        """The source and the loop of one pass with its own core.

        Args:
            faults: to apply; not shared with other passes.
        """
        options, start_ns = self.options, self.reader.start_ns

        def simulated(stream: Stream, now_ns: int) -> bool:
            return faults.may_affect(stream, (now_ns - start_ns) / 1e9)

        faults.depth_scale = options.config.depth_scale
        gravity = Gravity(options.gravity_frame, say)
        source = BagSource(
            self.reader,
            self.topics,
            faults,
            self.stamps,
            gravity.tree if self.engine.need_intrinsics else None,
            options.config.max_image_pixels,
            decode=True,
        )
        replay = Replay(
            Core(options.config, self.engine.available, self.engine.need_intrinsics, simulated),
            self.engine,
            options.engine_latency_ms,
            options.without_fallback,
            gravity,
            options.consistency,
        )
        return source, replay

    def scorer(
        self,
        phases: list[Phase],
        truth: TruthFolder | None,
        on_match: Callable[[ReplayResult, Mask | None], None] = lambda result, truth: None,
    ) -> Scorer:
        """A scorer for one pass.

        Args:
            phases: of the faults.
            truth: folder with ground truth; None for the topic or none.
            on_match: see :class:`Scorer`.
        """
        options, labels = self.options, self.engine.labels
        return Scorer(
            labels,
            phases,
            self.reader.start_ns,
            self.has_truth,
            on_match,
            round(options.truth_window_ms * NS_PER_MS),
            truth,
            ClassMap(options.class_map, labels) if options.class_map else None,
        )


def score_without_faults(
    parts: ReplayParts,
    phases: list[Phase],
    labels: LabelSet,
    interrupted: Callable[[], bool],
) -> Scorer | None:
    """Replay the recording once more without faults, scored in the same phases.

    Args:
        parts: of the replay with faults.
        phases: of its faults.
        labels: of the bundle.
        interrupted: see :func:`rgbd_seg_ros.replay.session.replay_bag`.

    Returns:
        The finished scorer; None if the pass was interrupted.
    """
    folder = parts.options.truth
    options = replace(parts.options, without_fallback=False, consistency=False)
    source, replay = replace(parts, options=options).start(FaultSchedule())
    scorer = parts.scorer(phases, TruthFolder(folder.path) if folder else None)
    with closing(read_ahead(source)) as arrivals:
        for result in replay.run(arrivals, scorer.add_truth):
            if interrupted():
                return None
            scorer.add_mask(result)
    scorer.finish()
    return scorer
