# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Speed of a replay, compared with that of its networks alone on the same machine."""

from __future__ import annotations

import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.frames import NetworkName
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.inference import Engine, run_job
from rgbd_seg_ros.replay.runner import ReplayResult

#: Largest share of the replay's time that its networks run alone, besides once for each of them.
ALONE_SHARE = 0.05


class SpeedMeter:
    """Compares the time of a replay with the time that its networks need alone.

    The networks run alone now and then during the replay, each on a frame that the replay has
    just computed, and only the ratio of both times counts: so the same load of the machine slows
    both.

    Args:
        engine: of the replay.
        config: of its core.
        gravity: of the replay, for networks whose input is HHA.
        quiet: returns when the other threads of the replay have nothing to do.
        clock: seconds.
    """

    def __init__(
        self,
        engine: Engine,
        config: CoreConfig,
        gravity: Gravity,
        quiet: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine, self._config, self._gravity = engine, config, gravity
        self._quiet, self._clock = quiet, clock
        #: Time of each network in the replay, milliseconds.
        self._replay_ms: defaultdict[NetworkName, float] = defaultdict(float)
        #: Times of each network alone, as shares of its times on the same frames in the replay.
        self._ratios: defaultdict[NetworkName, list[float]] = defaultdict(list)
        self._started_s: float | None = None
        #: How long networks have run alone, seconds; to be subtracted from the replay's duration.
        self.alone_s = 0.0
        self._masks = 0
        self._engine_s = 0.0

    def add(self, result: ReplayResult) -> None:
        """Add a mask, and all others that were computed from its frames."""
        self._masks += 1
        self._engine_s += result.engine_ms / 1000
        masks = [*result.others.items()]
        if result.without_fallback is not None:
            masks.append(("rgbd", result.without_fallback))
        masks.append((result.segmentation.network, result.segmentation))
        times_ms = {name: mask.timings_ms.get("total", 0.0) for name, mask in masks}
        for name, mask in masks:
            self._replay_ms[name] += mask.timings_ms.get("total", 0.0)
        now_s = self._clock()
        if self._started_s is None:
            self._started_s = now_s
        elapsed_s = now_s - self._started_s - self.alone_s
        for name, time_ms in times_ms.items():
            if not self._ratios[name] or self.alone_s < ALONE_SHARE * elapsed_s:
                self._run_alone(result, name, time_ms)

    def _run_alone(self, result: ReplayResult, name: NetworkName, time_ms: float) -> None:
        self._quiet()
        started_s = self._clock()
        # The copy keeps what the replay knows about gravity as it is.
        gravity = copy.copy(self._gravity)
        mask = run_job(self._engine, result.job, self._config, gravity, network=name)
        self._ratios[name].append(mask.timings_ms.get("total", 0.0) / max(time_ms, 1e-6))
        self.alone_s += self._clock() - started_s

    def summary(self, seconds: float) -> dict[str, float | None]:
        """The key ``speed`` of the summary, see docs/replay.md.

        Args:
            seconds: duration of the replay, without :attr:`alone_s`.
        """
        if not self._masks or not seconds:
            keys = ("seconds", "masks_per_s", "engine_share", "network_seconds", "network_share")
            return dict.fromkeys(keys)
        network_s = sum(
            ms * statistics.median(self._ratios[name]) / 1000
            for name, ms in self._replay_ms.items()
        )
        return {
            "seconds": round(seconds, 3),
            "masks_per_s": round(self._masks / seconds, 2),
            "engine_share": round(self._engine_s / seconds, 4),
            "network_seconds": round(network_s, 3),
            # A replay is not faster than its networks.
            "network_share": round(network_s / seconds, 4) if network_s <= seconds else None,
        }
