# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Speed of a replay, compared with that of its networks alone on the same machine."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict, deque

from rgbd_seg_ros.fallback import CoreConfig, Job
from rgbd_seg_ros.frames import NetworkName
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.inference import Engine, run_job
from rgbd_seg_ros.replay.runner import ReplayResult

#: Number of frames of each network that it computes once more, alone, and the seconds after which
#: no further one is begun.
SAMPLES, MAX_SECONDS = 5, 1.0


class SpeedMeter:
    """Compares the time of a replay with the time that its networks need alone.

    Args:
        engine: of the replay.
        config: of its core.
        gravity: of the replay, for networks whose input is HHA.
    """

    def __init__(self, engine: Engine, config: CoreConfig, gravity: Gravity) -> None:
        self._engine, self._config, self._gravity = engine, config, gravity
        self._runs: Counter[NetworkName] = Counter()
        self._jobs: defaultdict[NetworkName, deque[Job]] = defaultdict(
            lambda: deque(maxlen=SAMPLES)
        )
        self._masks = 0
        self._engine_s = 0.0

    def add(self, result: ReplayResult) -> None:
        """Add a mask, and all others that were computed from its frames."""
        self._masks += 1
        self._engine_s += result.engine_ms / 1000
        names: list[NetworkName] = [result.segmentation.network, *result.others]
        if result.without_fallback is not None:
            names.append("rgbd")
        for name in names:
            self._runs[name] += 1
            self._jobs[name].append(result.job)

    def summary(self, seconds: float, alone: bool = True) -> dict[str, float | None]:
        """The key ``speed`` of the summary, see docs/replay.md.

        Args:
            seconds: duration of the replay.
            alone: run the networks once more on the newest frames, now that nothing else runs.
        """
        if not self._masks or not seconds:
            keys = ("seconds", "masks_per_s", "engine_share", "network_seconds", "network_share")
            return dict.fromkeys(keys)
        network_s = (
            sum(n * self._alone_s(name) for name, n in self._runs.items()) if alone else None
        )
        return {
            "seconds": round(seconds, 3),
            "masks_per_s": round(self._masks / seconds, 2),
            "engine_share": round(self._engine_s / seconds, 4),
            "network_seconds": None if network_s is None else round(network_s, 3),
            "network_share": None if network_s is None else round(network_s / seconds, 4),
        }

    def _alone_s(self, name: NetworkName) -> float:
        """Median time of a network on its newest frames, in seconds."""
        started_s = time.perf_counter()
        times_ms: list[float] = []
        for job in self._jobs[name]:
            mask = run_job(self._engine, job, self._config, self._gravity, network=name)
            times_ms.append(mask.timings_ms.get("total", 0.0))
            if time.perf_counter() - started_s > MAX_SECONDS:
                break
        return statistics.median(times_ms) / 1000
