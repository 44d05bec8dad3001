# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Score of a live replay: compares every mask with the offline replay of the same bag."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.topics import NONE, choose_topics
from rgbd_seg_ros.command_line import one_line, unknown_option
from rgbd_seg_ros.fallback import Core, CoreConfig
from rgbd_seg_ros.files import (
    InputFileError,
    describe_os_error,
    read_json,
    write_atomically,
)
from rgbd_seg_ros.frames import STREAMS, NetworkName
from rgbd_seg_ros.images import stamp_ns
from rgbd_seg_ros.inference import Engine, load_engine, run_job
from rgbd_seg_ros.names import shown
from rgbd_seg_ros.replay.runner import Replay
from rgbd_seg_ros.replay.source import BagSource
from rgbd_seg_ros.ros.parameters import NodeConfig, updated
from rgbd_seg_ros.ros.replay.agreement import (
    Agreement,
    Decision,
    Evidence,
    History,
    add_to_history,
    compare,
    counters_of,
    events,
)
from rgbd_seg_ros.ros.replay.plan import AGAIN, LiveReplayPlan, make_plan

#: Number of masks, evenly spread, that are recomputed and compared byte by byte. For all others,
#: only the networks are compared.
MAX_RECOMPUTED = 200


@dataclass
class Recorded:
    """The recorded outputs of the node."""

    #: Map from stamp of each mask to its network, from ~/status.
    networks: dict[int, NetworkName] = field(default_factory=dict)
    #: Map from stamp of each mask to its checksum.
    masks: dict[int, str] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    #: (time on the node's clock, values) of each diagnostics report while the node was active.
    diagnostics: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def history(self, counters: History) -> dict[str, list[tuple[int, int]]]:
        """The node's counters in each diagnostics report; 0 if the report has no such key."""
        names = {*counters, "engine_errors"}
        for _, values in self.diagnostics:
            names |= {name for name in values if name.startswith(tuple(f"{s}_" for s in STREAMS))}
        left_out = {f"{s}_{what}" for s in STREAMS for what in ("used", "pending", "offered")}
        return {
            name: [(t_ns, int(values.get(name, 0))) for t_ns, values in self.diagnostics]
            for name in sorted(names - left_out)
        }

    @property
    def last(self) -> dict[str, int]:
        """The final counts of the node."""
        values = self.diagnostics[-1][1]
        return {name: int(value) for name, value in values.items() if value.isdigit()}


def read_parameters(path: Path) -> tuple[NodeConfig, CoreConfig]:
    """The node's parameters, which the monitor has written as JSON.

    Raises:
        InputFileError: the file cannot be read, or a value is invalid.
    """
    values = read_json(path, allow_nan=True)
    if not isinstance(values, dict):
        raise InputFileError(
            f"{path} must contain the node's parameters by name, got {shown(values)}: {AGAIN}"
        )
    try:
        return updated(NodeConfig(), values), updated(CoreConfig(), values)
    except (TypeError, ValueError) as error:
        raise InputFileError(f"{path}: {error}: {AGAIN}") from error


def read_recorded(path: Path, node: str) -> Recorded:
    """Read the recorded outputs of the node.

    Raises:
        BagError: the path is not a bag, or the node was never active.
    """
    found = Recorded()
    with BagReader(path) as reader:
        for item in reader.messages([f"{node}/status", f"{node}/mask", "/diagnostics"]):
            message = item.message
            if message is None:
                continue
            stamp = stamp_ns(message.header)
            if item.topic == f"{node}/mask":
                found.masks[stamp] = checksum(np.asarray(message.data))
                continue
            for status in message.status:
                values = {entry.key: entry.value for entry in status.values}
                if item.topic == "/diagnostics":
                    if "rgb_offered" in values:
                        found.diagnostics.append((stamp, values))
                else:
                    found.networks[stamp] = values["network"]
                    found.latencies_ms.append(float(values["latency_ms"]))
    if not found.diagnostics:
        raise BagError(f"{path} has no diagnostics of {node}: the node was never active")
    return found


def checksum(mask: Any) -> str:
    """SHA-256 of the mask's bytes."""
    return hashlib.sha256(mask.tobytes()).hexdigest()


class NoMasks:
    """An engine that computes nothing, for a replay whose decisions alone are needed."""

    need_intrinsics: tuple[NetworkName, ...] = ()
    memory_mb = None

    def __init__(self, engine: Engine) -> None:
        self.labels = engine.labels
        self.available, self.sha256 = engine.available, engine.sha256
        self.device, self.description = engine.device, engine.description

    def __call__(self, *_: Any, network: NetworkName, **__: Any) -> Any:
        return SimpleNamespace(network=network)

    def estimate_gravity(self, *_: Any) -> npt.NDArray[np.float32]:
        """Never called, because ``need_intrinsics`` is empty."""
        raise NotImplementedError


@dataclass
class Offline:
    """Decisions and counters of the offline replay, and some of its masks."""

    decisions: list[Decision] = field(default_factory=list)
    history: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    offered: dict[str, int] = field(default_factory=dict)
    #: Map from stamp to checksum of the recomputed masks.
    masks: dict[int, str] = field(default_factory=dict)


def replay_offline(
    plan: LiveReplayPlan, core: Core, engine: Engine, recompute: dict[int, NetworkName]
) -> Offline:
    """Replay the bag offline, and recompute masks for which both replays chose the same network.

    Args:
        plan: plan of the live replay.
        core: a new core with the node's parameters.
        engine: the node's networks.
        recompute: map from stamp to network of the live masks to recompute.
    """
    found = Offline()
    topics: dict[str, str | None] = {stream: plan.streams.get(stream, NONE) for stream in STREAMS}
    with BagReader(plan.bag) as reader:
        chosen = choose_topics(reader, topics)
        schedule = plan.schedule()

        def counted(source: BagSource) -> Any:
            for arrival in source:
                yield arrival
                add_to_history(found.history, arrival.receive_ns, counters_of(core))

        replay = Replay(core, NoMasks(engine))
        for result in replay.run(counted(BagSource(reader, chosen, schedule))):
            job = result.job
            found.decisions.append(Decision.of(job))
            if recompute.get(job.stamp_ns) == job.network:
                found.masks[job.stamp_ns] = checksum(run_job(engine, job, core.config).labels)
    add_to_history(found.history, plan.end_ns, counters_of(core))
    found.offered = {f"{s}_offered": count for s, count in core.counters.offered.items()}
    return found


def choose_masks(live: dict[int, NetworkName], engine: Engine) -> dict[int, NetworkName]:
    """Choose live masks to recompute, evenly spread over time for each network.

    Networks that read HHA are excluded, because their gravity is smoothed over earlier masks.
    """
    chosen: dict[int, NetworkName] = {}
    for name in engine.available:
        stamps = sorted(stamp for stamp, network in live.items() if network == name)
        if name not in engine.need_intrinsics:
            step = -(-len(stamps) * len(engine.available) // MAX_RECOMPUTED) or 1
            chosen |= dict.fromkeys(stamps[::step], name)
    return chosen


def score(
    plan: LiveReplayPlan, recorded: Path, node: str, config: CoreConfig, engine: Engine
) -> dict[str, Any]:
    """Compare the live replay with the offline replay.

    Args:
        plan: plan of the live replay.
        recorded: bag of the node's outputs.
        node: name of the node.
        config: parameters of the node's core.
        engine: the node's networks.
    """
    live = read_recorded(recorded, node)
    core = Core(config, engine.available, engine.need_intrinsics)
    offline = replay_offline(plan, core, engine, choose_masks(live.networks, engine))

    last = live.last
    losses = {f"{s}_pending": last.get(f"{s}_pending", 0) for s in STREAMS}
    for stream in STREAMS:
        name = f"{stream}_offered"
        losses[f"{stream}_lost"] = max(0, offline.offered[name] - last.get(name, 0))
    losses["mask_not_recorded"] = max(0, last["masks"] - len(live.networks))
    evidence = Evidence(events(offline.history, live.history(offline.history)), dict(losses))
    arrivals = {(s, stamp): t for s, pairs in plan.arrivals.items() for stamp, t in pairs}
    compared = compare(offline.decisions, live.networks, arrivals, evidence)
    return summary(plan, live, offline, compared, losses)


def summary(
    plan: LiveReplayPlan,
    live: Recorded,
    offline: Offline,
    compared: Agreement,
    losses: dict[str, int],
) -> dict[str, Any]:
    """The content of the score file."""
    recomputed = [stamp for stamp in offline.masks if stamp in live.masks]
    different = [stamp for stamp in recomputed if offline.masks[stamp] != live.masks[stamp]]
    unmatched = len(live.masks.keys() ^ live.networks.keys())
    failures = compared.failures()
    if different:
        failures.append(
            f"{len(different)} of {len(recomputed)} masks differ in their bytes when recomputed "
            f"from the same inputs, the first at stamp {different[0]}"
        )
    if unmatched:
        failures.append(f"{unmatched} masks without status or statuses without mask")
    faults = plan.schedule().faults
    percentiles = (50, 95, 99)
    latencies = np.percentile(live.latencies_ms or [np.nan], percentiles)
    return {
        "passed": not failures,
        "failures": failures,
        "warnings": plan.warnings,
        "masks": compared.live_masks,
        "offline_masks": compared.offline_masks,
        "networks": dict(Counter(live.networks.values())),
        "offline_networks": dict(Counter(d.network for d in offline.decisions)),
        "coverage": round(compared.coverage, 5),
        "agreement": round(compared.agreement, 5),
        "differences": [difference.as_json() for difference in compared.differences],
        "causes": compared.causes,
        "unexplained": compared.unexplained,
        "frames_lost": {s: losses[f"{s}_lost"] for s in plan.streams},
        "masks_recomputed": len(recomputed),
        "masks_different": len(different),
        "faults": [
            {"fault": str(fault), "from": fault.from_s, "messages": count}
            for fault, count in zip(faults, plan.hits, strict=True)
        ],
        "latency_ms": {
            f"p{p}": round(float(v), 3) for p, v in zip(percentiles, latencies, strict=True)
        },
    }


def main(
    argv: Sequence[str] | None = None,
    load: Callable[[str, str, str], Engine] = load_engine,
) -> int:
    """Plan or score a live replay.

    Args:
        argv: command line; None for the process's own.
        load: loads the engine from bundle, device and backend.

    Returns:
        0 if the replay passes, 1 if it fails, 2 for bad input.
    """
    parser = argparse.ArgumentParser(prog="replay_score", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    planning = commands.add_parser("plan", help="read the bag and the fault schedule")
    planning.add_argument("--bag", type=Path, required=True)
    planning.add_argument("--faults", default="")
    scoring = commands.add_parser("score", help="compare the recorded outputs of the node")
    scoring.add_argument("--plan", type=Path, required=True)
    scoring.add_argument("--recorded", type=Path, required=True)
    scoring.add_argument("--parameters", type=Path, required=True)
    scoring.add_argument("--node", default="/segmenter")
    for command in (planning, scoring):
        command.add_argument("--out", type=Path, required=True)
    words = list(sys.argv[1:] if argv is None else argv)
    if "--ros-args" in words:  # the launch file adds them
        words = words[: words.index("--ros-args")]
    chosen = commands.choices.get(words[0], parser) if words else parser
    if mistake := unknown_option(chosen, words[chosen is not parser :]):
        chosen.error(mistake)
    args = parser.parse_args(words)
    try:
        if args.command == "plan":
            plan = make_plan(args.bag, args.faults)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            plan.save(args.out)
            for line in plan.warnings:
                print(f"warning: {line}", file=sys.stderr)
            return 0
        node, config = read_parameters(args.parameters)
        plan = LiveReplayPlan.load(args.plan)
        engine = load(node.bundle, node.device, node.backend)
        result = score(plan, args.recorded, args.node, config, engine)
        write_atomically(args.out, json.dumps(result, indent=2) + "\n")
    except (ValueError, OSError, ImportError) as error:
        text = describe_os_error(error) if isinstance(error, OSError) else error
        print(f"replay_score: {one_line(text)}", file=sys.stderr)
        return 2
    for failure in result["failures"]:
        print(f"replay_score: {failure}", file=sys.stderr)
    print(json.dumps({key: value for key, value in result.items() if key != "differences"}))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
