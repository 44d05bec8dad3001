# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Score of a live replay: every mask against the offline replay of the same bag and faults."""

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

from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.topics import NONE, choose_topics
from rgbd_seg_ros.fallback import Core, CoreConfig
from rgbd_seg_ros.frames import STREAMS, NetworkName
from rgbd_seg_ros.images import stamp_ns
from rgbd_seg_ros.replay.faults import FaultSchedule, load_faults
from rgbd_seg_ros.replay.runner import Engine, Replay, segment
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
from rgbd_seg_ros.ros.replay.plan import LiveReplayPlan, make_plan

#: So many masks are made again at most, spread evenly; the rest is compared by network alone.
REMADE = 200


@dataclass
class Recorded:
    """What the node published."""

    #: Stamp to network of each mask, by its status.
    networks: dict[int, NetworkName] = field(default_factory=dict)
    #: Stamp to checksum of each mask.
    masks: dict[int, str] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    #: (time on the node's clock, values) of each of its diagnostics while it was active.
    diagnostics: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def history(self, counters: History) -> dict[str, list[tuple[int, int]]]:
        """The node's counters at each of its diagnostics; those that it does not name are 0."""
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
        """The node's final counts."""
        values = self.diagnostics[-1][1]
        return {name: int(value) for name, value in values.items() if value.isdigit()}


def read_recorded(path: Path, node: str) -> Recorded:
    """Read the outputs of a live replay.

    Raises:
        BagError: no bag, or the node was never active.
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
        raise BagError(f"{path} has no diagnostics of {node}: it was never active")
    return found


def checksum(mask: Any) -> str:
    """Of a mask's bytes."""
    return hashlib.sha256(mask.tobytes()).hexdigest()


class Decide:
    """Stands in for an engine: only decisions are wanted of the replay, few masks are made."""

    def __init__(self, engine: Engine) -> None:
        self.labels = engine.labels
        self.available = engine.available

    def __call__(
        self, rgb: Any = None, depth: Any = None, intrinsics: Any = None, /, **options: Any
    ) -> Any:
        return SimpleNamespace(network=options["network"])


@dataclass
class Offline:
    """What the offline replay of the same bag and faults decides, and some of its masks."""

    decisions: list[Decision] = field(default_factory=list)
    history: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    offered: dict[str, int] = field(default_factory=dict)
    #: Stamp to checksum.
    masks: dict[int, str] = field(default_factory=dict)


def needs_intrinsics(engine: Engine) -> tuple[NetworkName, ...]:
    """Networks that read HHA."""
    return getattr(engine, "need_intrinsics", ())


def replay_offline(
    plan: LiveReplayPlan, core: Core, engine: Engine, remake: dict[int, NetworkName]
) -> Offline:
    """Replay the bag, and make those masks again that both replays have by the same network.

    Args:
        plan: of the live replay.
        core: a fresh one, with the node's parameters.
        engine: with the node's networks.
        remake: stamp to network of the live masks to make again.
    """
    found = Offline()
    topics: dict[str, str | None] = {stream: plan.streams.get(stream, NONE) for stream in STREAMS}
    with BagReader(plan.bag) as reader:
        chosen = choose_topics(reader, topics)
        schedule = load_faults(plan.faults) if plan.faults else FaultSchedule()

        def counted(source: BagSource) -> Any:
            for arrival in source:
                yield arrival
                add_to_history(found.history, arrival.receive_ns, counters_of(core))

        replay = Replay(core, Decide(engine))
        for made in replay.run(counted(BagSource(reader, chosen, schedule, "header"))):
            job = made.job
            found.decisions.append(Decision.of(job))
            if remake.get(job.stamp_ns) == job.network:
                found.masks[job.stamp_ns] = checksum(segment(engine, job, core.config).labels)
    add_to_history(found.history, plan.end_ns, counters_of(core))
    found.offered = {f"{s}_offered": count for s, count in core.counters.offered.items()}
    return found


def spread(live: dict[int, NetworkName], engine: Engine) -> dict[int, NetworkName]:
    """The live masks to make again: evenly spread over each network that depends on one instant.

    Networks that read HHA are left out, as their gravity is smoothed over the masks before.
    """
    chosen: dict[int, NetworkName] = {}
    for name in engine.available:
        stamps = sorted(stamp for stamp, network in live.items() if network == name)
        if name not in needs_intrinsics(engine):
            step = -(-len(stamps) * len(engine.available) // REMADE) or 1
            chosen |= dict.fromkeys(stamps[::step], name)
    return chosen


def load_engine(config: NodeConfig) -> Engine:
    """The node's own networks, on its device."""
    from rgbd_seg_ros.bundle import DEFAULT_BUNDLE, load_bundle
    from rgbd_seg_ros.engine import Segmenter

    return Segmenter(load_bundle(config.bundle or DEFAULT_BUNDLE), config.device, config.backend)


def score(
    plan: LiveReplayPlan, recorded: Path, node: str, config: CoreConfig, engine: Engine
) -> dict[str, Any]:
    """Compare, and say what explains each difference.

    Args:
        plan: of the live replay.
        recorded: bag of the node's outputs.
        node: its name.
        config: the parameters it ran with.
        engine: with its networks.
    """
    live = read_recorded(recorded, node)
    core = Core(config, engine.available, needs_intrinsics(engine))
    offline = replay_offline(plan, core, engine, spread(live.networks, engine))

    last = live.last
    budgets = {f"{s}_pending": last.get(f"{s}_pending", 0) for s in STREAMS}
    for stream in STREAMS:
        name = f"{stream}_offered"
        budgets[f"{stream}_lost"] = max(0, offline.offered[name] - last.get(name, 0))
    budgets["mask_not_recorded"] = max(0, last["masks"] - len(live.networks))
    evidence = Evidence(events(offline.history, live.history(offline.history)), dict(budgets))
    arrivals = {(s, stamp): t for s, pairs in plan.arrivals.items() for stamp, t in pairs}
    compared = compare(offline.decisions, live.networks, arrivals, evidence)
    return summary(plan, live, offline, compared, budgets)


def summary(
    plan: LiveReplayPlan,
    live: Recorded,
    offline: Offline,
    compared: Agreement,
    budgets: dict[str, int],
) -> dict[str, Any]:
    """The score as it is written."""
    remade = [stamp for stamp in offline.masks if stamp in live.masks]
    unlike = [stamp for stamp in remade if offline.masks[stamp] != live.masks[stamp]]
    alone = len(live.masks.keys() ^ live.networks.keys())
    failures = compared.failures()
    if unlike:
        failures.append(
            f"{len(unlike)} of {len(remade)} masks that were made again from the same inputs have "
            f"other bytes, the first at {unlike[0]}"
        )
    if alone:
        failures.append(f"{alone} masks were recorded without their status, or the reverse")
    faults = load_faults(plan.faults).faults if plan.faults else ()
    percentiles = (50, 95, 99)
    latencies = np.percentile(live.latencies_ms or [np.nan], percentiles)
    return {
        "passed": not failures,
        "failures": failures,
        "masks": compared.live_masks,
        "offline_masks": compared.offline_masks,
        "networks": dict(Counter(live.networks.values())),
        "offline_networks": dict(Counter(d.network for d in offline.decisions)),
        "coverage": round(compared.coverage, 5),
        "agreement": round(compared.agreement, 5),
        "differences": [difference.as_json() for difference in compared.differences],
        "causes": compared.causes,
        "unexplained": compared.unexplained,
        "lost_on_the_way": {s: budgets[f"{s}_lost"] for s in plan.streams},
        "masks_made_again": len(remade),
        "masks_unlike": len(unlike),
        "faults": [
            {"fault": str(fault), "from": fault.from_s, "messages": count}
            for fault, count in zip(faults, plan.hits, strict=True)
        ],
        "latency_ms": {
            f"p{p}": round(float(v), 3) for p, v in zip(percentiles, latencies, strict=True)
        },
    }


def main(
    argv: Sequence[str] | None = None, load: Callable[[NodeConfig], Engine] = load_engine
) -> int:
    """Plan a live replay, or score it; 0 when it passes, 1 when not, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="replay_score", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    look = commands.add_parser("plan", help="look through the bag and the faults")
    look.add_argument("--bag", type=Path, required=True)
    look.add_argument("--faults", default="")
    run = commands.add_parser("score", help="compare a recording of the node's outputs")
    run.add_argument("--plan", type=Path, required=True)
    run.add_argument("--recorded", type=Path, required=True)
    run.add_argument("--parameters", type=Path, required=True)
    run.add_argument("--node", default="/segmenter")
    for command in (look, run):
        command.add_argument("--out", type=Path, required=True)
    args, _ = parser.parse_known_args(argv)  # launch adds --ros-args
    try:
        if args.command == "plan":
            plan = make_plan(args.bag, args.faults)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            plan.save(args.out)
            return 0
        parameters = json.loads(args.parameters.read_text())
        engine = load(updated(NodeConfig(), parameters))
        config = updated(CoreConfig(), parameters)
        result = score(LiveReplayPlan.load(args.plan), args.recorded, args.node, config, engine)
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    except (ValueError, OSError) as error:
        print(f"replay_score: {error}", file=sys.stderr)
        return 2
    for failure in result["failures"]:
        print(f"replay_score: {failure}", file=sys.stderr)
    print(json.dumps({key: value for key, value in result.items() if key != "differences"}))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
