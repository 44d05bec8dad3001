# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's entry in /diagnostics: mode, rates, drops, GPU memory and latency percentiles."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_updater import DiagnosticTask, Updater

from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.fallback.health import State

#: Rates are means over this time on the node's clock. diagnostic_updater's own FrequencyStatus
#: reads the wall clock, so it is wrong by the playback rate in simulated time.
RATE_WINDOW_S = 5.0
#: Latency percentiles are over so many masks.
LATENCY_WINDOW = 300
#: Level and sentence of each mode, and of what else keeps the node from making masks.
STATES = {
    "STARTING": (DiagnosticStatus.WARN, "waiting for the first pictures"),
    "RGBD": (DiagnosticStatus.OK, "both streams are used"),
    "RGB_ONLY": (DiagnosticStatus.WARN, "degraded: color alone is used"),
    "DEPTH_ONLY": (DiagnosticStatus.WARN, "degraded: depth alone is used"),
    "NO_INPUT": (DiagnosticStatus.ERROR, "no usable stream, so no masks"),
    "loading": (DiagnosticStatus.WARN, "the networks are not there yet"),
    "disabled": (DiagnosticStatus.OK, "no masks until ~/set_enabled says so"),
    "inactive": (DiagnosticStatus.OK, "no masks until the node is activated"),
}


class Rate:
    """Events per second of the node's clock, over the last :data:`RATE_WINDOW_S`."""

    def __init__(self) -> None:
        self._times_ns: deque[int] = deque(maxlen=1000)

    def event(self, now_ns: int) -> None:
        """One more."""
        if self._times_ns and now_ns < self._times_ns[-1]:
            self._times_ns.clear()  # the clock jumped back
        self._times_ns.append(now_ns)

    def hz(self, now_ns: int) -> float:
        """Their rate; 0 without two recent ones."""
        # A copy first: callbacks go on adding while this thread looks.
        recent = [t for t in list(self._times_ns) if now_ns - t <= RATE_WINDOW_S * 1e9]
        if len(recent) < 2 or recent[-1] == recent[0]:
            return 0.0
        return (len(recent) - 1) * 1e9 / (recent[-1] - recent[0])


@dataclass
class Measurements:
    """What the node counts beside the core's own counters."""

    rates: dict[str, Rate] = field(
        default_factory=lambda: {name: Rate() for name in ("rgb", "depth", "depth_raw", "masks")}
    )
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCY_WINDOW))
    masks: int = 0
    engine_errors: int = 0
    last_error: str = ""
    #: Steady time of the last engine error, so that one long ago stops worrying people.
    last_error_s: float = float("-inf")

    def mask(self, now_ns: int, latency_ms: float) -> None:
        """A mask went out."""
        self.masks += 1
        self.latencies_ms.append(latency_ms)
        self.rates["masks"].event(now_ns)

    def error(self, text: str) -> None:
        """The engine failed."""
        self.engine_errors += 1
        self.last_error, self.last_error_s = text, time.monotonic()


@dataclass(frozen=True)
class NodeSnapshot:
    """One look at the node."""

    #: A key of :data:`STATES`.
    state: str
    now_ns: int
    #: Sentences that make an OK state a warning: unaligned depth, a slow stream, the CPU, …
    warnings: tuple[str, ...]
    #: The core's counters and anything else worth a line.
    values: Mapping[str, str]


def look(core: Core, values: dict[str, str], warnings: list[str]) -> None:
    """Read a core, between two of its decisions, into values and warnings for a snapshot."""
    values["state"] = core.mode.value if core.enabled else "disabled"
    values["mode_reason"] = core.mode_reason
    values["max_wait_rgb_ms"] = f"{core.max_wait_ms('rgb'):.0f}"
    values["max_wait_depth_ms"] = f"{core.max_wait_ms('depth'):.0f}"
    counters = core.counters
    values["partner_missed"] = str(counters.partner_missed)
    for stream, offered in counters.offered.items():
        values[f"{stream}_offered"] = str(offered)
        values[f"{stream}_pending"] = str(counters.pending(stream))
        fates = {**counters.fates[stream]}
        fates.update({f"unusable_{why}": n for why, n in counters.unusable[stream].items()})
        values.update({f"{stream}_{fate}": str(count) for fate, count in fates.items() if count})
    # Raw depth only helps out.
    warnings += [
        f"{name} is lost: {h.reason}"
        for name, h in core.health.items()
        if h.state is State.LOST and name != "depth_raw"
    ]
    warnings += [f"{name} is slower than it was" for name, h in core.health.items() if h.slow]
    if not core.enabled:
        warnings.clear()  # they are of the masks


class SegmentationTask(DiagnosticTask):
    """Puts a snapshot and the measurements into words."""

    def __init__(self, look: Callable[[], NodeSnapshot], measurements: Measurements) -> None:
        super().__init__("segmentation")
        self._look = look
        self._measurements = measurements

    def run(self, stat: Any) -> Any:
        """Fill ``stat``; called by the updater."""
        snapshot, measured = self._look(), self._measurements
        level, sentence = STATES[snapshot.state]
        text = f"{snapshot.state}: {sentence}"
        warnings = list(snapshot.warnings)
        if time.monotonic() - measured.last_error_s < RATE_WINDOW_S:
            level, text = DiagnosticStatus.ERROR, f"the engine failed: {measured.last_error}"
        elif level == DiagnosticStatus.OK and warnings:
            level = DiagnosticStatus.WARN
        stat.summary(level, "; ".join([text, *warnings]))
        for name, rate in measured.rates.items():
            stat.add(f"rate_{name}_hz", f"{rate.hz(snapshot.now_ns):.1f}")
        stat.add("masks", str(measured.masks))
        stat.add("engine_errors", str(measured.engine_errors))
        for percent in (50, 95, 99):
            latencies = list(measured.latencies_ms)
            value = f"{np.percentile(latencies, percent):.1f}" if latencies else ""
            stat.add(f"latency_p{percent}_ms", value)
        for key, value in snapshot.values.items():
            stat.add(key, value)
        return stat


def start_updater(node: Any, hardware_id: str, task: SegmentationTask) -> Updater:
    """Publish the task on /diagnostics once per second of the node's clock."""
    # Else two nodes in two namespaces would be one and the same to an aggregator.
    node.declare_parameter("diagnostic_updater.use_fqn", node.get_namespace() != "/")
    updater = Updater(node)
    updater.setHardwareID(hardware_id)
    updater.add(task)
    return updater
