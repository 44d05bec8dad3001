# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's entry in /diagnostics: mode, rates, drops, GPU memory and latency percentiles."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diagnostic_updater import DiagnosticTask, Updater
from rclpy.clock import Clock

from rgbd_seg_ros.fallback import Core, Mode
from rgbd_seg_ros.fallback.health import State
from rgbd_seg_ros.fallback.unusable import CausedWarning
from rgbd_seg_ros.frames import STREAMS, Stream
from rgbd_seg_ros.inference import MODE_LEVELS
from rgbd_seg_ros.names import shown

#: Rates are averaged over this time on the node's clock. The FrequencyStatus of diagnostic_updater
#: reads the wall clock, so in simulated time it is wrong by the playback rate.
RATE_WINDOW_S = 5.0
#: Number of masks over which latency percentiles are computed.
LATENCY_WINDOW = 300
#: A mode that promises masks is an ERROR if images arrive and no mask does for longer than this
#: plus two periods of the slowest stream.
NO_MASK_S = 1.0
#: How long a warning of the core stays in /diagnostics.
WARNING_S = 60.0
#: Parameter of diagnostic_updater: seconds between two reports, read when the node starts.
PERIOD = "diagnostic_updater.period"
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.1, 3600.0
#: Levels of ``diagnostic_msgs/DiagnosticStatus``.
OK, WARN, ERROR = 0, 1, 2
MODE_TEXTS: dict[Mode, str] = {
    Mode.STARTING: "waiting for the first images",
    Mode.RGBD: "color and depth are fused",
    Mode.RGB_ONLY: "degraded: only color is used",
    Mode.DEPTH_ONLY: "degraded: only depth is used",
    Mode.NO_INPUT: "no usable stream, so no masks are published",
}
#: Modes that promise masks.
MODES_WITH_MASKS = (Mode.RGBD, Mode.RGB_ONLY, Mode.DEPTH_ONLY)
#: The streams of which the modes make masks.
USED_STREAMS: dict[Mode, tuple[Stream, ...]] = {
    Mode.RGBD: ("rgb", "depth"),
    Mode.RGB_ONLY: ("rgb",),
    Mode.DEPTH_ONLY: ("depth", "depth_raw"),
}
#: Level and text of each mode, and of the states in which the node does not process images.
STATES: dict[str, tuple[int, str]] = {
    **{mode.value: (MODE_LEVELS[mode], text) for mode, text in MODE_TEXTS.items()},
    "loading": (WARN, "the networks are being loaded"),
    "disabled": (OK, "call ~/set_enabled to resume"),
    "inactive": (OK, "activate the node to publish masks"),
}


class Rate:
    """Events per second of the node's clock over the last :data:`RATE_WINDOW_S`."""

    def __init__(self) -> None:
        self._times_ns: deque[int] = deque(maxlen=1000)

    def event(self, now_ns: int) -> None:
        """Count one event."""
        if self._times_ns and now_ns < self._times_ns[-1]:
            self._times_ns.clear()  # the clock jumped back
        self._times_ns.append(now_ns)

    @property
    def last_ns(self) -> int:
        """Time of the last event; 0 before the first."""
        times_ns = list(self._times_ns)
        return times_ns[-1] if times_ns else 0

    def hz(self, now_ns: int) -> float:
        """The rate; 0 with fewer than two recent events."""
        # A copy, because other threads add events meanwhile.
        recent = [t for t in list(self._times_ns) if now_ns - t <= RATE_WINDOW_S * 1e9]
        if len(recent) < 2 or recent[-1] == recent[0]:
            return 0.0
        return (len(recent) - 1) * 1e9 / (recent[-1] - recent[0])


@dataclass
class Measurements:
    """Counts and measurements of the node, in addition to the core's counters."""

    rates: dict[str, Rate] = field(
        default_factory=lambda: {name: Rate() for name in ("rgb", "depth", "depth_raw", "masks")}
    )
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCY_WINDOW))
    #: When the mode was last published, on the node's clock.
    mode_since_ns: int = 0
    masks: int = 0
    engine_errors: int = 0
    last_error: str = ""
    #: Monotonic time of the last engine error, so that the ERROR level ends after a while.
    last_error_s: float = float("-inf")
    #: The latest warnings and the monotonic times at which they expire.
    warnings: list[tuple[str, float]] = field(default_factory=list)
    #: Warnings of the core that are not logged yet, because their cause may become known.
    caused_warnings: deque[CausedWarning] = field(default_factory=deque)

    def add_mask(self, now_ns: int, latency_ms: float) -> None:
        """Count a published mask."""
        self.masks += 1
        self.latencies_ms.append(latency_ms)
        self.rates["masks"].event(now_ns)

    def add_error(self, error: Exception) -> str:
        """Count an error that lost a message or a mask; return its text, one short line."""
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        self.engine_errors += 1
        self.last_error, self.last_error_s = text, time.monotonic()
        return text

    def silence_s(self, node: NodeState) -> float | None:
        """How long the masks that the mode promises have been missing, s; None if they are not."""
        if node.patience_ns is None:
            return None
        begin_ns = max(self.rates["masks"].last_ns, self.mode_since_ns)
        images_ns = max(self.rates[stream].last_ns for stream in STREAMS)
        missing = node.now_ns - begin_ns > node.patience_ns > node.now_ns - images_ns
        return (node.now_ns - begin_ns) / 1e9 if missing else None

    def add_warning(self, text: str, duration_s: float = WARNING_S) -> None:
        """Report a warning for a while."""
        # A new list, because another thread may be reading the old one.
        self.warnings = [*self.warnings[-8:], (text, time.monotonic() + duration_s)]

    def remove_warning(self, text: str) -> None:
        """Report a warning no longer."""
        self.warnings = [warning for warning in self.warnings if warning[0] != text]

    def current_warnings(self) -> list[str]:
        """The warnings that have not expired."""
        now_s = time.monotonic()
        return [text for text, expires_s in self.warnings if now_s < expires_s]


@dataclass
class NodeState:
    """The state of the node for one diagnostics report."""

    #: A key of :data:`STATES`.
    state: str
    now_ns: int
    #: Each one raises the level from OK to WARN: unaligned depth, a slow stream, use of the CPU, …
    warnings: list[str] = field(default_factory=list)
    #: Key-value pairs of the report.
    values: dict[str, str] = field(default_factory=dict)
    #: How long the mode may last without a mask, ns; None if it promises no masks.
    patience_ns: int | None = None

    def add_core(self, core: Core) -> None:
        """Add the core's mode, counters and warnings."""
        self.state = core.mode.value if core.enabled else "disabled"
        self.values |= core_values(core)
        if core.enabled:
            self.warnings += core_warnings(core, self.now_ns)
            if core.mode in MODES_WITH_MASKS:
                used = USED_STREAMS[core.mode]
                periods = [core.health[s].period_ns or 0 for s in used if s in core.health]
                self.patience_ns = round(NO_MASK_S * 1e9) + 2 * max(periods, default=0)
        else:
            self.warnings.clear()  # they concern masks, which a disabled node does not publish


def core_values(core: Core) -> dict[str, str]:
    """Mode, waits and counters of the core, as key-value pairs."""
    counters = core.counters
    values = {
        "state": core.mode.value if core.enabled else "disabled",
        "mode_reason": core.mode_reason,
        "max_wait_rgb_ms": f"{core.max_wait_ms('rgb'):.0f}",
        "max_wait_depth_ms": f"{core.max_wait_ms('depth'):.0f}",
        "partner_missed": str(counters.partner_missed),
        "masks_expired": str(counters.masks_expired),
    }
    for stream, offered in counters.offered.items():
        values[f"{stream}_offered"] = str(offered)
        values[f"{stream}_pending"] = str(counters.pending(stream))
        fates = {**counters.fates[stream]}
        fates.update({f"unusable_{why}": n for why, n in counters.unusable[stream].items()})
        values.update({f"{stream}_{fate}": str(count) for fate, count in fates.items() if count})
        details = counters.details[stream]
        values.update({f"{stream}_detail_{why}": text for why, text in details.items() if text})
    return values


def core_warnings(core: Core, now_ns: int) -> list[str]:
    """Lost and slow streams; a lost raw depth stream is not reported, because it is optional."""
    lost = []
    for name, health in core.health.items():
        if health.state is State.LOST and name != "depth_raw":
            recovery = health.recovery(now_ns)
            text = f"{name} is recovering: {recovery}, after " if recovery else f"{name} is lost: "
            lost.append(text + health.reason)
    slow = [f"the rate of {name} has dropped" for name, h in core.health.items() if h.slow]
    return lost + slow


class SegmentationTask(DiagnosticTask):
    """Reports the node's state and measurements.

    Args:
        state: returns the current state.
        measurements: the node's counts.
    """

    def __init__(self, state: Callable[[], NodeState], measurements: Measurements) -> None:
        super().__init__("segmentation")
        self._state = state
        self._measurements = measurements

    def run(self, stat: Any) -> Any:
        """Fill the report; called by the updater."""
        node, measured = self._state(), self._measurements
        level, text = STATES[node.state]
        text = f"{node.state}: {text}"
        if time.monotonic() - measured.last_error_s < RATE_WINDOW_S:
            level, text = ERROR, f"processing failed: {measured.last_error}"
        elif (silence_s := measured.silence_s(node)) is not None:
            text = f"{node.state}, but no mask for {silence_s:.1f} s although images arrive"
            level = ERROR
        elif level == OK and node.warnings:
            level = WARN
        stat.summary(bytes([level]), "; ".join([text, *node.warnings]))
        for name, rate in measured.rates.items():
            stat.add(f"rate_{name}_hz", f"{rate.hz(node.now_ns):.1f}")
        stat.add("masks", str(measured.masks))
        stat.add("engine_errors", str(measured.engine_errors))
        for percent in (50, 95, 99):
            latencies = list(measured.latencies_ms)
            value = f"{np.percentile(latencies, percent):.1f}" if latencies else ""
            stat.add(f"latency_p{percent}_ms", value)
        for key, value in node.values.items():
            stat.add(key, value)
        return stat


def start_updater(node: Any, hardware_id: str, task: SegmentationTask, steady: Clock) -> Updater:
    """Publish the task on /diagnostics once per second.

    The updater's own timer runs on the node's clock, so that it would fall silent when /clock
    stops; it is replaced by one on the steady clock.

    Raises:
        ValueError: the parameter ``diagnostic_updater.period`` that was passed to the node is
            no number of seconds that a timer can have.
    """
    given = node._parameter_overrides.get(PERIOD)
    if given is not None and not (
        isinstance(given.value, float) and SHORTEST_PERIOD_S <= given.value <= LONGEST_PERIOD_S
    ):
        raise ValueError(
            f"{PERIOD} must be a float from {SHORTEST_PERIOD_S:g} to {LONGEST_PERIOD_S:g} "
            f"(seconds), got {shown(given.value)}"
        )
    # Otherwise an aggregator could not tell nodes in different namespaces apart.
    node.declare_parameter("diagnostic_updater.use_fqn", node.get_namespace() != "/")
    updater = Updater(node)
    node.destroy_timer(updater.timer)
    updater.timer = node.create_timer(updater.period, updater.update, clock=steady)
    updater.setHardwareID(hardware_id)
    updater.add(task)
    return updater
