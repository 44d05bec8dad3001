# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.evaluate`: scores of networks and bundles, and what a lost sensor costs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.config import SAVED_RECIPE, RunConfig, run_command
from training.options import UsageError, add_options, convert, fill, parse_flags, read_yaml

if TYPE_CHECKING:
    from rgbd_seg_ros.bundle import TrainedNetwork
    from rgbd_seg_ros.metrics import ConfusionMatrix
    from training.scoring import Predictor

#: Keys of a recipe that say which pictures to score.
DATA_KEYS = (
    *("data", "root", "size", "val_fraction", "strict", "train_frames", "val_frames"),
    *("test_frames", "scene_seed", "cache", "workers", "eval_batch", "device"),
)
#: Row of the sensor-drop table → (what it shows, cases that may answer, the first there is does).
DROP_ROWS = {
    "both": ("both sensors", ("rgbd", "rgb", "depth")),
    "no_depth": ("depth lost, RGB network takes over", ("rgb",)),
    "no_rgb": ("RGB lost, depth network takes over", ("depth",)),
    "no_depth_without_fallback": ("depth lost, fused network fed none", ("rgbd, depth empty",)),
    "no_rgb_without_fallback": ("RGB lost, fused network fed black", ("rgbd, rgb empty",)),
}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "networks", nargs="+", type=Path, metavar="CHECKPOINT",
        help="a run's folder, a .safetensors network or a bundle's folder; at most one rgbd, one "
        "rgb and one depth network together give the sensor-drop table",
    )  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="recipe that names the data")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--multi-scale", metavar="X,X,…", default="1", help="zooms to average")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    parser.add_argument("--native", action="store_true", help="do not resize pictures first")
    parser.add_argument("--window", metavar="H,W", help="slide a window over unresized pictures")
    parser.add_argument("--stride", type=float, default=2 / 3, metavar="X", help="of the window")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write tables and pictures here")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in --out")
    parser.add_argument("--panels", type=int, default=8, metavar="N", help="pictures in --out")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON on stdout")
    add_options(parser, "data", RunConfig, DATA_KEYS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, score, print and write; the exit code."""
    args = parse_flags(make_parser(), sys.argv[1:] if argv is None else argv)
    out = args["out"]
    if out and out.exists() and any(out.iterdir()) and not args["overwrite"]:
        raise UsageError(f"{out} is not empty; choose another --out or add --overwrite")
    recipe = read_yaml(Path(args["config"])) if args["config"] else recipe_of(args["networks"])
    # A network that was trained and validated on pictures of their own size is tested so.
    args["native"] |= convert(recipe.get("native", False), bool, "native")
    flags = {key: args[key] for key in DATA_KEYS if key in args}

    from training.distributed import is_main, process_group

    with process_group(str(flags.get("device", "auto"))) as device:
        networks = load_networks(args["networks"])
        first = next(iter(networks.values()))
        recipe = {"size": list(first.record.preprocess.size), **recipe}
        chosen = {k: v for k, v in {**recipe, **flags}.items() if k in DATA_KEYS}
        report = evaluate(networks, fill(RunConfig, chosen), args, device)
    if is_main():
        print(report["text"], file=sys.stderr)
        if args["json"]:
            print(json.dumps(report["json"]))
    return 0


def recipe_of(paths: list[Path]) -> dict[str, Any]:
    """The recipe of the first run among the paths: score a run on the data it was meant for."""
    for path in paths:
        if (path / SAVED_RECIPE).is_file():
            return read_yaml(path / SAVED_RECIPE)
    return {}


def load_networks(paths: list[Path]) -> dict[str, TrainedNetwork]:
    """Every network under the paths; named by modality where that is unique, else by path."""
    from rgbd_seg_ros.bundle import BUNDLE_JSON, load_bundle, load_network

    found: list[tuple[str, str, TrainedNetwork]] = []
    for path in paths:
        if (path / BUNDLE_JSON).is_file():
            found += [(n, f"{path}/{n}", net) for n, net in load_bundle(path).networks.items()]
        elif path.is_dir():
            files = sorted((path / "best").glob("*.safetensors"))
            if not files:
                raise UsageError(
                    f"{path} is neither a bundle nor a run with a finished validation"
                )
            found += [(f.stem, str(f), load_network(f)) for f in files]
        else:
            network = load_network(path)
            found.append((network.record.spec.modality, str(path), network))
    modalities = [modality for modality, _, _ in found]
    unique = len(set(modalities)) == len(modalities)
    labels = {network.record.labels for _, _, network in found}
    if len(labels) > 1:
        names = ", ".join(sorted(label_set.name for label_set in labels))
        raise UsageError(f"the networks have different label sets: {names}")
    return {modality if unique else path: network for modality, path, network in found}


def make_cases(
    networks: Mapping[str, TrainedNetwork], args: Mapping[str, Any], device: Any
) -> Any:
    """Predictors by case name: each network, and the fused one with one input empty."""
    import torch

    from training.scoring import Protocol, predictor

    window = convert(args["window"], tuple[int, int], "window") if args["window"] else None
    scales = convert(args["multi_scale"], tuple[float, ...], "multi-scale")
    native = args["native"] or window is not None
    protocol = Protocol(scales, args["flip"], native, window, args["stride"])
    cases: dict[str, Predictor] = {}
    for name, network in networks.items():
        record = network.record
        module = network.module.to(device)
        cases[name] = predictor(module, record.spec.modality, record.preprocess, protocol)
    fused = cases.get("rgbd")
    if fused is not None:
        # Empty as the engine makes it: depth invalid everywhere, a black picture.
        cases["rgbd, depth empty"] = lambda pictures: fused(
            dataclasses.replace(pictures, depth=torch.full_like(pictures.depth, float("nan")))
        )
        cases["rgbd, rgb empty"] = lambda pictures: fused(
            dataclasses.replace(pictures, rgb=torch.zeros_like(pictures.rgb))
        )
    return cases, protocol


def evaluate(
    networks: Mapping[str, TrainedNetwork], config: RunConfig, args: Mapping[str, Any], device: Any
) -> dict[str, Any]:
    """Score every case on one split: ``{"json": …, "text": …}``; files under ``--out``."""
    from training.data.datasets import open_split
    from training.data.loader import scoring_loader
    from training.distributed import is_main
    from training.memory import out_of_memory
    from training.runlog import tracked
    from training.scoring import score

    labels = next(iter(networks.values())).record.labels
    samples = open_split(dataclasses.replace(config, overfit=0), args["split"])
    if samples.label_set.classes != labels.classes:
        raise UsageError(
            f"the networks know label set {labels.name!r} ({len(labels)} classes), the data have "
            f"{samples.label_set.name!r} ({len(samples.label_set)}); evaluate on data of their own"
        )
    cases, protocol = make_cases(networks, args, device)
    loader = scoring_loader(samples, config, device)
    with out_of_memory(f"while scoring: lower --eval-batch (now {config.eval_batch})"):
        matrices = score(cases, tracked(loader, len(loader), "scoring"), len(labels), device)
    document = to_json(matrices, list(networks), labels.classes)
    document |= {
        "data": config.data,
        "split": args["split"],
        "frames": len(samples),
        "protocol": dataclasses.asdict(protocol),
    }
    if args["out"] and is_main():
        from training.report import write_report

        write_report(args["out"], document, matrices, cases, samples, args["panels"], device)
    return {"json": document, "text": to_text(document, matrices, labels.classes)}


def to_json(
    matrices: Mapping[str, ConfusionMatrix], names: list[str], classes: tuple[str, ...]
) -> dict[str, Any]:
    """The documented keys; at the top level those of the fused network, else of the first."""
    from training.results import scores

    networks: dict[str, Any] = {}
    for name in names:
        iou = {c: round(float(v), 5) for c, v in zip(classes, matrices[name].iou, strict=True)}
        iou = {c: None if v != v else v for c, v in iou.items()}  # NaN is no JSON
        networks[name] = {**scores(matrices[name]), "iou": iou}
    main_name = "rgbd" if "rgbd" in names else names[0]
    drop: dict[str, float | None] | None = None
    if set(names) <= {"rgbd", "rgb", "depth"}:
        drop = {}
        for row, (_, answers) in DROP_ROWS.items():
            answer = next((case for case in answers if case in matrices), None)
            drop[row] = round(matrices[answer].miou, 5) if answer else None
    return {**networks[main_name], "sensor_drop": drop, "networks": networks}


def to_text(
    document: Mapping[str, Any],
    matrices: Mapping[str, ConfusionMatrix],
    classes: tuple[str, ...],
) -> str:
    """Per-class table, averages, sensor-drop table."""
    from training.runlog import table

    networks = document["networks"]
    first = next(iter(matrices.values()))
    share = first.counts.sum(axis=1) / max(1, first.counts.sum())
    rows = [["class", "pixels", *(f"IoU {name}" for name in networks)]]
    for i, name in enumerate(classes):
        ious = [network["iou"][name] for network in networks.values()]
        cells = ["-" if value is None else f"{100 * value:.1f}" for value in ious]
        rows.append([name, f"{100 * share[i]:.1f} %", *cells])
    for key, title in AVERAGES.items():
        rows.append([title, "", *(f"{100 * n[key]:.1f}" for n in networks.values())])
    text = (
        f"\n{document['data']}, split {document['split']}, {document['frames']} frames\n\n"
        f"{table(rows)}\n"
    )
    if document["sensor_drop"]:
        drop = [["sensors", "mIoU"]]
        for row, value in document["sensor_drop"].items():
            if value is not None or not row.endswith("_without_fallback"):
                shown = "no mask" if value is None else f"{100 * value:.1f}"
                drop.append([DROP_ROWS[row][0], shown])
        text += f"\n{table(drop)}\n"
    return text


AVERAGES = {
    "miou": "mIoU (classes in the truth)",
    "miou_all": "mIoU (absent classes = 0)",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean class accuracy",
}


if __name__ == "__main__":
    sys.exit(run_command(main))
