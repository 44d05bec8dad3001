# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of a replay: frames, networks, modes, switches, latencies and a checksum."""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rgbd_seg_ros.fallback import Core, Mode, ModeChange
from rgbd_seg_ros.fallback.unusable import UnusableWarning
from rgbd_seg_ros.frames import NETWORK_NAMES, STREAMS, NetworkName, Stream
from rgbd_seg_ros.replay.fault_response import fault_response
from rgbd_seg_ros.replay.health_timeline import HealthTimeline
from rgbd_seg_ros.replay.mask_measures import Consistency, Flicker
from rgbd_seg_ros.replay.runner import ReplayResult

#: The streams that a mode uses. Raw depth counts as depth.
MODE_STREAMS: dict[Mode, tuple[Stream, ...]] = {
    Mode.RGBD: ("rgb", "depth"),
    Mode.RGB_ONLY: ("rgb",),
    Mode.DEPTH_ONLY: ("depth",),
}
PERCENTILES = (50, 95, 99)
#: Problems of a moment, of which only the end of a replay shows whether they last.
HELD = ("lag", "mixed")
#: Bins of the histogram of latencies.
BINS = 30


@dataclass
class Switch:
    """A change of mode and its latency."""

    change: ModeChange
    #: From the arrival of the last used frame of the lost stream to the first mask without it;
    #: None if no stream was lost or no mask followed.
    latency_ms: float | None = None


@dataclass
class _LastUse:
    """The last frame of one stream that was used in a mask."""

    arrived_ns: int
    #: Time at which the first mask without this stream was ready; None if there is none yet.
    replaced_ns: int | None = None


class ReplayStatistics:
    """Collects the statistics of one replay from its masks and its core.

    Args:
        core: the core of the replay.
        start_ns: receive time of the first message in the bag.
        end_ns: receive time of the last message.
        health: of the core's streams.
        faults: returns ``faults`` of the summary; called at the end.
    """

    def __init__(
        self,
        core: Core,
        start_ns: int,
        end_ns: int,
        health: HealthTimeline | None = None,
        faults: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    ) -> None:
        self._core = core
        self._health = health or HealthTimeline(core)
        self._faults = faults
        self._start_ns = start_ns
        #: Receive time of the last message; earlier if the replay is interrupted.
        self.end_ns = end_ns
        self._last_use: dict[Stream, _LastUse] = {}
        #: Switches that have not been followed by a mask, each with the lost stream.
        self._open: list[tuple[Switch, Stream]] = []
        self._latencies_ms: list[float] = []
        #: When each mask was ready, seconds from the start of the bag.
        self._ready_s: list[float] = []
        self._sha256 = hashlib.sha256()
        self.switches: list[Switch] = []
        self.warnings: list[str] = []
        #: All warnings of the core except those about unusable messages.
        self.from_core: list[str] = []
        self._flicker = Flicker()
        self._consistency = Consistency()
        self.networks: Counter[NetworkName] = Counter()
        #: (from s, to s, network) of consecutive masks of one network.
        self.network_runs: list[tuple[float, float, NetworkName]] = []

    def add_labels(self, result: ReplayResult) -> None:
        """Add the pixels of a mask; may be called later than :meth:`add_mask`, in its order."""
        self._flicker.add(result)
        self._consistency.add(result)
        labels = np.ascontiguousarray(result.segmentation.labels)
        self._sha256.update(struct.pack("<qii", result.job.stamp_ns, *labels.shape))
        self._sha256.update(result.segmentation.network.encode())
        self._sha256.update(labels.tobytes())

    def add_mask(self, result: ReplayResult) -> None:
        """Add the times and the network of a mask."""
        self._update_switch_latencies(result)
        name = result.segmentation.network
        self.networks[name] += 1
        self._latencies_ms.append(result.latency_ms)
        t_s = self.seconds(result.ready_ns)
        self._ready_s.append(t_s)
        if self.network_runs and self.network_runs[-1][2] == name:
            self.network_runs[-1] = (self.network_runs[-1][0], t_s, name)
        else:
            self.network_runs.append((t_s, t_s, name))

    def _update_switch_latencies(self, result: ReplayResult) -> None:
        """Complete the open switches with this mask, and note which streams it uses."""
        arrived_ns: dict[Stream, int] = {
            "depth" if stream == "depth_raw" else stream: ns
            for stream, ns in result.arrived_ns.items()
        }
        for stream, ns in arrived_ns.items():
            self._last_use[stream] = _LastUse(ns)
        for stream, last_use in self._last_use.items():
            if stream not in arrived_ns and last_use.replaced_ns is None:
                last_use.replaced_ns = result.ready_ns
        for switch, stream in self._open:
            # A stream that is used again before any mask without it was not lost after all.
            if stream not in arrived_ns:
                self._close(switch, stream)
        self._open.clear()

    def fetch_from_core(self) -> None:
        """Fetch the core's new mode changes and warnings.

        Warnings about unusable messages and those in :data:`HELD` are left out:
        :class:`FailedSensors` tells them at the end, when their number or effect is known.
        """
        new = self._core.drain_warnings()
        new = [text for text in new if not isinstance(text, UnusableWarning)]
        self.from_core += new
        self.warnings += [text for text in new if getattr(text, "key", "") not in HELD]
        for change in self._core.drain_mode_changes():
            if change.t_ns > self.end_ns:
                continue  # streams are always silent after the last message
            switch = Switch(change)
            self.switches.append(switch)
            before, after = (MODE_STREAMS.get(m, ()) for m in (change.from_mode, change.to_mode))
            for stream in before:
                if not after or stream in after or stream not in self._last_use:
                    continue
                if self._last_use[stream].replaced_ns is None:
                    self._open.append((switch, stream))
                else:
                    self._close(switch, stream)

    def _close(self, switch: Switch, stream: Stream) -> None:
        last_use = self._last_use[stream]
        if last_use.replaced_ns is not None:
            switch.latency_ms = (last_use.replaced_ns - last_use.arrived_ns) / 1e6

    def seconds(self, t_ns: int) -> float:
        """Seconds from the start of the bag."""
        return (t_ns - self._start_ns) / 1e9

    @property
    def timeline(self) -> list[tuple[float, float, str]]:
        """(from s, to s, mode) over the whole bag."""
        times = [self._start_ns, *(s.change.t_ns for s in self.switches), self.end_ns]
        modes = [Mode.STARTING, *(s.change.to_mode for s in self.switches)]
        return [
            (self.seconds(a), self.seconds(b), mode.value)
            for (a, b), mode in zip(itertools.pairwise(times), modes, strict=True)
            if b > a
        ]

    def summary(self) -> dict[str, Any]:
        """The keys of the summary that need no ground truth, see docs/replay.md."""
        counters = self._core.counters
        unusable: Counter[str] = Counter()
        for reasons in counters.unusable.values():
            unusable.update(reasons)
        modes = dict.fromkeys((mode.value for mode in Mode), 0.0)
        for from_s, to_s, mode in self.timeline:
            modes[mode] += to_s - from_s
        streams = [s for s in STREAMS if s != "depth_raw" or counters.offered[s]]
        fates = counters.fates
        health = self._health.spans(self.seconds, self.seconds(self.end_ns))
        faults = self._faults()
        return {
            "frames_in": {stream: counters.offered[stream] for stream in streams},
            "masks": sum(self.networks.values()),
            "superseded": sum(fates[s]["superseded"] for s in STREAMS),
            "skipped": sum(fates[s]["skipped"] for s in STREAMS),
            "partner_missed": counters.partner_missed,
            "masks_expired": counters.masks_expired,
            # A frame pair is superseded in both streams, but is one mask.
            "masks_lost": counters.masks_expired + max(fates[s]["superseded"] for s in STREAMS),
            "unusable": dict(sorted(unusable.items())),
            "unusable_details": {s: counters.details[s] for s in streams if counters.details[s]},
            "accounting": {
                stream: {
                    "offered": counters.offered[stream],
                    "pending": counters.pending(stream),
                    **fates[stream],
                    "unusable": sum(counters.unusable[stream].values()),
                }
                for stream in streams
            },
            "networks": {name: self.networks[name] for name in NETWORK_NAMES},
            "modes": {mode: round(seconds, 3) for mode, seconds in modes.items()},
            "switches": [
                {
                    "t": round(self.seconds(s.change.t_ns), 3),
                    "from": s.change.from_mode.value,
                    "to": s.change.to_mode.value,
                    "reason": s.change.reason,
                }
                for s in self.switches
            ],
            "switch_latency_ms": [
                round(s.latency_ms, 3) for s in self.switches if s.latency_ms is not None
            ],
            "switches_without_mask": [
                round(t, 3) for t in sorted({self.seconds(s.change.t_ns) for s, _ in self._open})
            ],
            "longest_gap_s": self._longest_gap_s(),
            "flicker": self._flicker.summary(),
            "consistency": self._consistency.summary(),
            "fault_responses": [
                fault_response(fault, health, self.network_runs, faults)
                for fault in faults
                if fault["stream"] in ("rgb", "depth")
            ],
            "latency_ms": self._percentiles(),
            "latency_histogram": self._histogram(),
            "warnings": self.warnings,
            "timeline": {
                "modes": [[round(a, 3), round(b, 3), m] for a, b, m in self.timeline],
                "networks": [[round(a, 3), round(b, 3), n] for a, b, n in self.network_runs],
                "health": {
                    stream: [[round(a, 3), round(b, 3), reason] for a, b, reason in spans]
                    for stream, spans in health.items()
                },
            },
            "determinism_sha256": self._sha256.hexdigest(),
        }

    def _longest_gap_s(self) -> float:
        """The longest time without a mask, also before the first and after the last one."""
        times = [0.0, *self._ready_s, self.seconds(self.end_ns)]
        return round(max(b - a for a, b in itertools.pairwise(times)), 3)

    def _histogram(self) -> dict[str, list[float]] | None:
        """Number of masks by the time to compute them; the slowest percent is in the last bin."""
        if not self._latencies_ms:
            return None
        values = np.array(self._latencies_ms)
        end = max(float(np.percentile(values, 99)), float(values.min()) + 0.1)
        counts, edges = np.histogram(np.minimum(values, end), bins=BINS, range=(values.min(), end))
        return {
            "edges_ms": [round(float(edge), 3) for edge in edges],
            "counts": [int(count) for count in counts],
        }

    def _percentiles(self) -> dict[str, float | None]:
        if not self._latencies_ms:
            return {f"p{p}": None for p in PERCENTILES}
        values = np.percentile(self._latencies_ms, PERCENTILES)
        return {f"p{p}": round(float(v), 3) for p, v in zip(PERCENTILES, values, strict=True)}
