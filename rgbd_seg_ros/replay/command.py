# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg replay`: runs a recorded bag through the node's core, without ROS."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from rgbd_seg_ros.bag.topics import NONE
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.files import InputFileError, parse_yaml
from rgbd_seg_ros.gravity import DEFAULT_FRAME
from rgbd_seg_ros.inference import BACKEND_HELP, load_engine
from rgbd_seg_ros.names import did_you_mean, shown
from rgbd_seg_ros.progress import say
from rgbd_seg_ros.replay.runner import ReplayError

#: Options that name a topic: map from field of ``Topics`` to help text.
TOPICS = {
    "rgb": "color images",
    "depth": "depth aligned to color",
    "depth_raw": "unaligned depth, used when aligned depth is lost together with color",
    "rgb_info": "camera_info of color",
    "depth_info": "camera_info of aligned depth",
    "depth_raw_info": "camera_info of unaligned depth",
    "truth": "ground truth: mono8 images of class ids; enables the scores",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rgbd_seg replay`."""
    parser.set_defaults(refuse=parser.error)
    add = parser.add_argument
    add(
        "bag",
        type=Path,
        nargs="*",
        metavar="BAG",
        help="a ROS 2 bag (db3, mcap, zstd) or a ROS 1 .bag file; several for --batch, --compare",
    )
    add("--bundle", type=Path, metavar="DIR", help="trained networks (default: shipped bundle)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default %(default)s)")
    add("--backend", default="auto", metavar="NAME", help=BACKEND_HELP)
    add("--out", type=Path, metavar="DIR", help="folder for masks, overlays, summary and report")
    add("--no-masks", action="store_true", help="write no masks and overlays to --out")
    add("--record", type=Path, metavar="OUTBAG", help="bag for the topics that the node publishes")
    add("--rerun", type=Path, metavar="FILE", help="image, depth cloud and mask for Rerun (.rrd)")
    add(
        "--criteria",
        type=Path,
        metavar="YAML",
        help="conditions on the results; 1 if one is unmet",
    )
    add("--junit", type=Path, metavar="FILE", help="JUnit XML with the verdict of --criteria")
    add("--overwrite", action="store_true", help="replace existing outputs")
    add("--json", action="store_true", help="print the summary as JSON on stdout")
    group = parser.add_argument_group(
        "many replays", "Their results are in --out; a batch that was interrupted goes on."
    )
    group.add_argument(
        "--batch",
        type=Path,
        metavar="YAML",
        help="replay recordings × faults × bundles of a plan, see docs/replay.md",
    )
    group.add_argument(
        "--compare",
        type=Path,
        metavar="BUNDLE",
        help="replay everything with this bundle as well, and show the differences",
    )
    group.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="replays at the same time (%(default)s)"
    )
    group = parser.add_argument_group(
        "topics", f"Chosen by type and name by default; {NONE!r} uses no topic."
    )
    for name, what in TOPICS.items():
        group.add_argument(f"--{name.replace('_', '-')}-topic", metavar="TOPIC", help=what)
    group = parser.add_argument_group("time, faults and scores")
    group.add_argument(
        "--stamps",
        choices=("auto", "header", "receive"),
        default="auto",
        help="stamps of the frames: of the headers, or the receive times; auto uses the headers "
        "and corrects each stream whose stamps cannot be right (default %(default)s)",
    )
    group.add_argument(
        "--truth", type=Path, metavar="DIR", help="ground truth: PNGs of class ids, STAMP_NS.png"
    )
    group.add_argument(
        "--class-map", type=Path, metavar="YAML", help="classes of the ids of the ground truth"
    )
    group.add_argument(
        "--truth-window",
        type=float,
        default=20.0,
        metavar="MS",
        help="largest difference between the stamps of mask and truth (default %(default)s)",
    )
    faults = group.add_mutually_exclusive_group()
    faults.add_argument(
        "--faults",
        default="",
        metavar="YAML|PRESET",
        help="schedule of sensor faults, or the name of a preset, for example depth-cable",
    )
    faults.add_argument(
        "--random-faults", type=int, metavar="SEED", help="random faults, the same for each seed"
    )
    group.add_argument(
        "--engine-latency",
        type=float,
        default=0.0,
        metavar="MS",
        help="bag time per mask in ms, to simulate a busy engine (default %(default)s)",
    )
    group.add_argument(
        "--without-fallback",
        action="store_true",
        help="also score the fused network with a blank image wherever one stream is missing",
    )
    group.add_argument(
        "--without-faults",
        action="store_true",
        help="also replay without faults, to score what they cost",
    )
    group.add_argument(
        "--consistency",
        action="store_true",
        help="also run all networks on one frame pair per second, to compare their masks",
    )
    group = parser.add_argument_group("parameters of the core")
    group.add_argument(
        "--assume-aligned",
        action="store_true",
        help="fuse color and depth even if nothing shows that depth is aligned to color",
    )
    group.add_argument(
        "--gravity-frame",
        default=DEFAULT_FRAME,
        metavar="FRAME",
        help="frame whose z axis points up, for networks with HHA input; if empty, or if the bag "
        "has no transforms to it, gravity is estimated from depth (default %(default)s)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set any parameter of the core, for example max_wait_ms=50 (repeatable)",
    )


def run(args: argparse.Namespace) -> int:
    """Replay a bag, or a batch of them.

    Returns:
        The exit code: 0, 1 if no mask was computed, color or depth that the bag has could not be
        used at all or a criterion is not met, or 128 + the signal's number.

    Raises:
        ValueError: bad usage or input.
    """
    from rgbd_seg_ros.replay.failed_replay import failures_noted

    if args.batch or args.compare:
        from rgbd_seg_ros.replay import batch_command
        from rgbd_seg_ros.replay.replay_words import ReplayArguments

        parser = argparse.ArgumentParser()
        add_arguments(parser)
        # The folder of a batch keeps its results, so that the batch can go on.
        with failures_noted("batch", None, args.junit, overwrite=True):
            return batch_command.run(args, ReplayArguments(parser, core_config))
    name = args.bag[0].name if args.bag else "replay"
    with failures_noted(name, args.out, args.junit, args.overwrite):
        return _run_one(args)


def _run_one(args: argparse.Namespace) -> int:
    """Replay one bag; see :func:`run`."""
    if not args.bag:
        args.refuse("the following arguments are required: BAG")
    if len(args.bag) > 1:
        raise ReplayError(
            f"several recordings need --batch or --compare, got {len(args.bag)}; name one"
        )
    if args.jobs != 1:
        raise ReplayError("--jobs changes nothing without --batch or --compare; omit it")

    from rgbd_seg_ros.replay.criteria import load_criteria
    from rgbd_seg_ros.replay.fault_presets import find_faults
    from rgbd_seg_ros.replay.interrupts import interruptible
    from rgbd_seg_ros.replay.replay_options import ReplayOptions
    from rgbd_seg_ros.replay.session import replay_bag
    from rgbd_seg_ros.replay.summary import summary_lines
    from rgbd_seg_ros.replay.truth_folder import TruthFolder

    options = ReplayOptions(
        bag=args.bag[0],
        topics={name: getattr(args, f"{name}_topic") for name in TOPICS},
        stamps=args.stamps,
        faults=find_faults(args.faults),
        random_faults=args.random_faults,
        config=core_config(args.set, args.assume_aligned),
        given=frozenset(text.partition("=")[0] for text in args.set),
        engine_latency_ms=args.engine_latency,
        without_fallback=args.without_fallback,
        without_faults=args.without_faults,
        consistency=args.consistency,
        gravity_frame=args.gravity_frame,
        truth=TruthFolder(args.truth) if args.truth else None,
        class_map=args.class_map,
        truth_window_ms=args.truth_window,
        criteria=load_criteria(args.criteria) if args.criteria else (),
        junit=args.junit,
        out=args.out,
        no_masks=args.no_masks,
        record=args.record,
        rerun=args.rerun,
        overwrite=args.overwrite,
        command=("rgbd_seg", *args.words),
        criteria_file=args.criteria,
    )
    with interruptible() as caught:
        outcome = replay_bag(
            options,
            lambda: load_engine(args.bundle, args.device, args.backend),
            lambda: caught() != 0,
        )
        signal_number = caught()
    summary = outcome.summary
    print(json.dumps(summary) if args.json else "\n".join(summary_lines(summary)))
    if args.out:
        say(f"report: {args.out / 'report.html'}")
    if args.record:
        say(f"recorded bag: {args.record}")
    if args.rerun:
        say(f"show it with: rerun {args.rerun}")
    if summary["interrupted"]:
        return 128 + signal_number
    if not summary["masks"]:
        say("no mask was computed; the counts above show what happened to the frames")
        return 1
    if summary["unused_streams"]:
        return 1
    if summary["verdict"] is not None and not summary["verdict"]["passed"]:
        return 1
    return 0


def core_config(settings: list[str], assume_aligned: bool = False) -> CoreConfig:
    """The parameters of the core from ``NAME=VALUE`` settings.

    Raises:
        ReplayError: a name is unknown or set twice, or a value is invalid.
    """
    fields = [field.name for field in dataclasses.fields(CoreConfig)]
    values: dict[str, Any] = {"assume_aligned": True} if assume_aligned else {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator or name not in fields:
            hint = did_you_mean(name, fields) or f"; known parameters: {', '.join(fields)}"
            raise ReplayError(
                f"--set {shown(setting)[1:-1]}: expected NAME=VALUE with a core parameter{hint}"
            )
        if name in values:
            option = " by --assume-aligned" if name == "assume_aligned" and assume_aligned else ""
            raise ReplayError(
                f"--set {name}={shown(text)[1:-1]}: {name} has already been set{option} to "
                f"{shown(values[name])}; set it once"
            )
        try:
            values[name] = parse_yaml(text, f"--set {name}: {shown(text)}")
        except InputFileError as error:
            raise ReplayError(str(error)) from error
    try:
        return CoreConfig(**values)
    except ValueError as error:
        raise ReplayError(f"--set: {error}") from error
