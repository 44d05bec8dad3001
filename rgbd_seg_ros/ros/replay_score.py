# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Score of a live replay: every mask's network against the offline replay of the same bag."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from rgbd_seg_ros.bag.faults import FaultError, FaultSchedule, load_faults
from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.replay import Replay
from rgbd_seg_ros.bag.source import Source, choose_stamps
from rgbd_seg_ros.bag.topics import NONE, choose_topics
from rgbd_seg_ros.fallback import Core, CoreConfig
from rgbd_seg_ros.images import stamp_ns
from rgbd_seg_ros.labels import INDOOR16
from rgbd_seg_ros.ros import PREFIX
from rgbd_seg_ros.ros.parameters import updated

#: Share of the stamps with a mask in both replays that must have the same network.
AGREEMENT = 0.99
#: Counters of the node that explain why a mask of the offline replay is not there live.
EXPLAIN = ("superseded", "late", "recovering", "skipped", "reset", "disabled")


class NoEngine:
    """Makes no masks: only the decisions are compared."""

    labels = INDOOR16

    def __init__(self, available: tuple[Any, ...]) -> None:
        self.available = available

    def __call__(
        self, rgb: Any = None, depth: Any = None, intrinsics: Any = None, **options: Any
    ) -> Any:
        from types import SimpleNamespace

        empty = np.empty((0, 0), np.uint8)
        return SimpleNamespace(
            labels=empty, confidence=empty, network=options["network"], timings_ms={}
        )


def live_networks(recorded: Path, node: str) -> tuple[dict[int, str], dict[str, str], list[float]]:
    """Stamp to network of every recorded mask, the node's last diagnostics, and the latencies."""
    networks: dict[int, str] = {}
    diagnostics: dict[str, str] = {}
    latencies_ms: list[float] = []
    with BagReader(recorded) as reader:
        for message in reader.messages([f"{node}/status", "/diagnostics"]):
            if message.message is None:
                continue
            for status in message.message.status:
                values = {entry.key: entry.value for entry in status.values}
                if message.topic == "/diagnostics" and "rgb_offered" in values:
                    diagnostics = values
                elif message.topic != "/diagnostics":
                    networks[stamp_ns(message.message.header)] = values["network"]
                    latencies_ms.append(float(values["latency_ms"]))
    return networks, diagnostics, latencies_ms


def offline_networks(
    bag: Path, topics: dict[str, str | None], faults: Path | None, core: Core
) -> dict[int, str]:
    """Stamp to network of the offline replay; ``core`` keeps its counters."""
    with BagReader(bag) as reader:
        chosen = choose_topics(reader, topics)
        stamps, _ = choose_stamps(reader, chosen, "header", core.config.max_age_s)
        schedule = load_faults(faults) if faults else FaultSchedule()
        source = Source(reader, chosen, schedule, stamps)
        replay = Replay(core, NoEngine(()))
        return {made.job.stamp_ns: made.job.network for made in replay.run(source)}


def look(bag: Path) -> dict[str, Any]:
    """What the launch file must know of a bag before it plays it.

    Raises:
        BagError: the bag cannot be used, or only by receive times, which no live node knows.
    """
    with BagReader(bag) as reader:
        topics = choose_topics(reader, {})
        stamps, why = choose_stamps(reader, topics, "auto", CoreConfig().max_age_s)
        if stamps != "header":
            raise BagError(f"{why}; a live node cannot: use `rgbd_seg replay`")
        inputs = {f"{stream}/image_raw": topic for topic, stream in topics.streams.items()}
        inputs |= {f"{s}/camera_info": t for t, streams in topics.infos.items() for s in streams}
        return {
            "streams": {stream: topic for topic, stream in topics.streams.items()},
            "inputs": inputs,
            "start_ns": reader.start_ns,
            "prefix": PREFIX,
        }


def score(args: argparse.Namespace) -> dict[str, Any]:
    """Compare, and say what explains each difference."""
    live, diagnostics, latencies_ms = live_networks(args.recorded, args.node)
    if not diagnostics:
        raise BagError(f"{args.recorded} has no diagnostics of the node: it was never active")
    parameters = json.loads(args.parameters.read_text())
    networks = tuple(diagnostics["networks"].split())
    core = Core(updated(CoreConfig(), parameters), networks)  # type: ignore[arg-type]
    topics: dict[str, str | None] = {"rgb": args.rgb, "depth": args.depth}
    topics["depth_raw"] = args.depth_raw or NONE
    offline = offline_networks(args.bag, topics, args.faults, core)
    both = live.keys() & offline.keys()
    different = sorted(stamp for stamp in both if live[stamp] != offline[stamp])
    lost = {
        stream: core.counters.offered[stream] - int(diagnostics.get(f"{stream}_offered", 0))
        for stream in ("rgb", "depth")
    }
    explained = {
        f"{stream}_{fate}": count
        for stream in ("rgb", "depth")
        for fate in EXPLAIN
        if (count := int(diagnostics.get(f"{stream}_{fate}", 0)))
    }
    explained["partner_missed"] = int(diagnostics.get("partner_missed", 0))
    missing, more = len(offline.keys() - live.keys()), len(live.keys() - offline.keys())
    agreement = (len(both) - len(different)) / max(len(both), 1)
    # A mask less or more than offline needs a frame that was lost on the way, came late, or was
    # superseded because the engine was busy, which it never is offline.
    unexplained = max(0, missing + more - sum(explained.values()) - sum(map(abs, lost.values())))
    percentiles = np.percentile(latencies_ms, (50, 95, 99)) if latencies_ms else (np.nan,) * 3
    return {
        "masks": len(live),
        "offline_masks": len(offline),
        "networks": dict(Counter(live.values())),
        "offline_networks": dict(Counter(offline.values())),
        "agreement": round(agreement, 5),
        "different": [
            {"stamp_ns": stamp, "live": live[stamp], "offline": offline[stamp]}
            for stamp in different
        ],
        "only_offline": missing,
        "only_live": more,
        "unexplained": unexplained,
        "frames_lost_on_the_way": lost,
        "counters": explained,
        "latency_ms": {
            f"p{p}": round(float(v), 3) for p, v in zip((50, 95, 99), percentiles, strict=True)
        },
    }


def main() -> int:
    """Print the score as JSON; 0 when live and offline agree."""
    parser = argparse.ArgumentParser(description="Score of a live replay against the offline one.")
    parser.add_argument("--bag", type=Path, required=True)
    parser.add_argument("--look", action="store_true", help="only print what is in the bag")
    for name in ("recorded", "parameters", "out"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--node", default="/segmenter")
    for name in ("rgb", "depth", "depth-raw"):
        parser.add_argument(f"--{name}", default="")
    args, _ = parser.parse_known_args()  # launch adds --ros-args
    try:
        if args.look:
            print(json.dumps(look(args.bag)))
            return 0
        result = score(args)
    except (BagError, FaultError, OSError) as error:
        print(f"replay_score: {error}", file=sys.stderr)
        return 2
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))
    good = result["agreement"] >= AGREEMENT and not result["unexplained"]
    return 0 if good and result["masks"] else 1


if __name__ == "__main__":
    sys.exit(main())
