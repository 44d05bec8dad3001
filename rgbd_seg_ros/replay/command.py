# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg replay`: a bag through the same core as on the robot, without ROS, deterministic."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgbd_seg_ros.bag.reader import BagError
from rgbd_seg_ros.bag.topics import NONE
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.gravity import DEFAULT_FRAME

if TYPE_CHECKING:
    from rgbd_seg_ros.replay.runner import Engine

#: ReplayOptions that name a topic, and what the topic is.
TOPICS = {
    "rgb": "color",
    "depth": "depth registered to color",
    "depth_raw": "unregistered depth, for when registered depth is lost with color",
    "rgb_info": "camera_info of color",
    "depth_info": "camera_info of depth",
    "depth_raw_info": "camera_info of unregistered depth",
    "truth": "mono8 masks of true class ids, to score against",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rgbd_seg replay`."""
    add = parser.add_argument
    add("bag", type=Path, metavar="BAG", help="a ROS 2 bag (db3, mcap, zstd) or a ROS 1 .bag file")
    add("--bundle", type=Path, metavar="DIR", help="default: the shipped bundle")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--out", type=Path, metavar="DIR", help="folder for masks, overlays, summary and report")
    add("--record", type=Path, metavar="OUTBAG", help="bag for what the node would publish")
    add("--overwrite", action="store_true", help="replace an earlier --out and --record")
    add("--json", action="store_true", help="print the summary as JSON on stdout")
    group = parser.add_argument_group("topics", f"default: found by type and name; {NONE!r}: none")
    for name, what in TOPICS.items():
        group.add_argument(f"--{name.replace('_', '-')}-topic", metavar="TOPIC", help=what)
    group = parser.add_argument_group("time, faults and scores")
    group.add_argument(
        "--stamps",
        choices=("auto", "header", "receive"),
        default="auto",
        help="what stamps the frames; auto: receive time if headers disagree with it throughout",
    )
    group.add_argument("--faults", type=Path, metavar="YAML", help="schedule of sensor faults")
    group.add_argument(
        "--engine-latency",
        type=float,
        default=0.0,
        metavar="MS",
        help="bag time that a mask takes, to simulate a busy engine (default %(default)s)",
    )
    group.add_argument(
        "--without-fallback",
        action="store_true",
        help="also score the fused network with an empty partner, wherever the fallback serves",
    )
    group = parser.add_argument_group("the core's parameters")
    group.add_argument(
        "--assume-aligned",
        action="store_true",
        help="fuse although nothing shows that depth is registered to color",
    )
    group.add_argument(
        "--gravity-frame",
        default=DEFAULT_FRAME,
        metavar="FRAME",
        help="frame whose z axis points up by the bag's transforms, for networks that read HHA; "
        "without them, or empty: gravity is estimated from depth (default %(default)s)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any parameter of the core by its name, such as max_wait_ms=50 (repeatable)",
    )


def run(args: argparse.Namespace) -> int:
    """Replay; 0, 1 when no mask was made, or 128 + signal when interrupted.

    Raises:
        ValueError: bad usage or input.
    """
    from rgbd_seg_ros.replay.faults import FaultSchedule, load_faults
    from rgbd_seg_ros.replay.session import ReplayOptions, replay_bag, say

    options = ReplayOptions(
        bag=args.bag,
        topics={name: getattr(args, f"{name}_topic") for name in TOPICS},
        stamps=args.stamps,
        faults=load_faults(args.faults) if args.faults else FaultSchedule(),
        config=core_config(args.set, args.assume_aligned),
        engine_latency_ms=args.engine_latency,
        compare=args.without_fallback,
        gravity_frame=args.gravity_frame,
        out=args.out,
        record=args.record,
        overwrite=args.overwrite,
    )
    with interruptible() as caught:
        outcome = replay_bag(options, lambda: load_engine(args.bundle, args.device), caught)
        signal_number: int = caught()
    print(json.dumps(outcome.summary) if args.json else "\n".join(lines(outcome.summary)))
    if args.out:
        say(f"report: {args.out / 'report.html'}")
    if args.record:
        say(f"recorded: {args.record}")
    if outcome.summary["interrupted"]:
        return 128 + signal_number
    if not outcome.summary["masks"]:
        say("no mask was made; the counts above say what became of the frames")
        return 1
    return 0


def load_engine(bundle: Path | None, device: str) -> Engine:
    """The shipped or another bundle, warm on its device."""
    from rgbd_seg_ros.bundle import DEFAULT_BUNDLE, load_bundle
    from rgbd_seg_ros.engine import Segmenter

    return Segmenter(load_bundle(bundle or DEFAULT_BUNDLE), device=device)


def core_config(settings: list[str], assume_aligned: bool = False) -> CoreConfig:
    """The core's parameters from ``NAME=VALUE`` words.

    Raises:
        BagError: an unknown name, or a value outside its range.
    """
    import difflib

    import yaml

    fields = [field.name for field in dataclasses.fields(CoreConfig)]
    values: dict[str, Any] = {"assume_aligned": True} if assume_aligned else {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator or name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}"
            raise BagError(
                f"--set {setting}: expected NAME=VALUE of the core's parameters; {hint}"
            )
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BagError(f"--set {setting}: {text!r} is no YAML value") from error
    try:
        return CoreConfig(**values)
    except ValueError as error:
        raise BagError(f"--set: {error}") from error


@contextmanager
def interruptible() -> Iterator[Any]:
    """SIGINT and SIGTERM ask for an end in good order; a second one ends at once.

    Yields a function that returns the signal's number, 0 before any.
    """
    caught = 0

    def handle(number: int, frame: Any) -> None:
        nonlocal caught
        if caught:
            raise KeyboardInterrupt
        caught = number

    if threading.current_thread() is not threading.main_thread():
        yield lambda: caught  # only the main thread may set handlers
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lines(summary: dict[str, Any]) -> list[str]:
    """The summary for people."""

    def pairs(values: dict[str, Any], form: str = "{}") -> str:
        return ", ".join(f"{name} {form.format(v)}" for name, v in values.items() if v) or "none"

    def score(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    text = [
        f"frames      {pairs(summary['frames_in'])}",
        f"masks       {summary['masks']} ({pairs(summary['networks'])})",
        f"modes       {pairs(summary['modes'], '{} s')}",
    ]
    lost = {key: summary[key] for key in ("superseded", "skipped", "partner_missed")}
    text.append(f"not used    {pairs(lost | summary['unusable'])}")
    if summary["dropped_by_faults"]:
        text.append(f"faults      kept {pairs(summary['dropped_by_faults'])} from arriving")
    for switch in summary["switches"]:
        words = f"{switch['from']} -> {switch['to']}"
        text.append(f"switch      {switch['t']:.2f} s  {words}: {switch['reason']}")
    if summary["switch_latency_ms"]:
        text.append(
            f"gaps        {', '.join(f'{ms:.0f} ms' for ms in summary['switch_latency_ms'])}"
        )
    if summary["miou"] is not None:
        text.append(
            f"mIoU        {score(summary['miou'])} over classes present, "
            f"{score(summary['miou_all'])} over all ({pairs(summary['miou_by_network'])})"
        )
        for phase in summary["phases"]:
            compared = phase["miou_without_fallback"] is not None
            fused = (
                f", without fallback {score(phase['miou_without_fallback'])}" if compared else ""
            )
            shown = score(phase["miou_fallback"] if compared else phase["miou"])
            text.append(
                f"            {phase['from']:g}-{phase['to']:g} s {phase['name']}: "
                f"{phase['masks']} masks, {shown}{fused}"
            )
    if summary["latency_ms"]["p50"] is not None:
        text.append(f"compute     {pairs(summary['latency_ms'], '{} ms')}")
    return [*text, f"sha256      {summary['determinism_sha256']}"]
