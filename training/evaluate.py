# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.evaluate`: scores of networks and bundles, with and without each sensor."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgbd_seg_ros.files import write_atomically
from training.command import out_of_memory, require_empty, run_command
from training.config import DATA_KEYS, RunConfig, data_config, recipe_of
from training.networks import open_all
from training.options import UsageError, add_options, convert, parse_flags, read_yaml

if TYPE_CHECKING:
    from rgbd_seg_ros.bundle import TrainedNetwork
    from rgbd_seg_ros.metrics import ConfusionMatrix
    from training.data.sample import Samples
    from training.scoring import Predictor, Protocol

#: Row of the sensor-drop table → (title, cases in order of preference; the first present is used).
DROP_ROWS = {
    "both": ("both sensors", ("rgbd", "rgb", "depth")),
    "no_depth": ("depth lost, RGB network takes over", ("rgb",)),
    "no_rgb": ("RGB lost, depth network takes over", ("depth",)),
    "no_depth_without_fallback": ("depth lost, fused network on no depth", ("rgbd, depth empty",)),
    "no_rgb_without_fallback": ("RGB lost, fused network on a black image", ("rgbd, rgb empty",)),
}
#: Key of the averages → title in the table.
AVERAGES = {
    "miou": "mIoU (classes in the ground truth)",
    "miou_all": "mIoU (absent classes = 0)",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean class accuracy",
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        allow_abbrev=False,
        description="Score networks and bundles on one split, with and without each sensor.",
    )
    parser.add_argument(
        "networks", nargs="+", type=Path, metavar="CHECKPOINT",
        help="a run's folder, a .safetensors network, or a bundle; with at most one network "
        "each for rgbd, rgb and depth, the sensor-drop table is also printed",
    )  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="recipe that chooses the data")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test",
                        help="split to score (default test)")  # fmt: skip
    parser.add_argument(
        "--multi-scale", metavar="X,X,…", default="1", help="average over these scales (default 1)"
    )
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument("--native", action="store_true", help="do not resize images first")
    parser.add_argument("--window", metavar="H,W", help="slide a window over full-size images")
    parser.add_argument(
        "--stride",
        type=float,
        default=2 / 3,
        metavar="X",
        help="step of the window as a share of its size (default 2/3)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write tables and images here")
    parser.add_argument("--overwrite", action="store_true", help="replace the contents of --out")
    parser.add_argument(
        "--panels", type=int, default=8, metavar="N", help="mask panels in --out (default 8)"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON on stdout")
    add_options(parser, "data", RunConfig, DATA_KEYS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, score, print and write; return the exit code."""
    args = parse_flags(make_parser(), sys.argv[1:] if argv is None else argv)
    if args["out"]:
        require_empty(args["out"], args["overwrite"])
    recipe = read_yaml(Path(args["config"])) if args["config"] else recipe_of(args["networks"])
    # A network that was trained and validated on full-size images is also evaluated on them.
    args["native"] |= convert(recipe.get("native", False), bool, "native")
    flags = {key: args[key] for key in DATA_KEYS if key in args}

    from training.distributed import is_main, process_group

    with process_group(str(flags.get("device", "auto"))) as device:
        networks = open_all(args["networks"])
        size = next(iter(networks.values())).record.preprocess.size
        config = data_config({"size": list(size), **recipe, **flags})
        report = evaluate(networks, config, args, device)
    if is_main():
        print(report["text"], file=sys.stderr)
        if args["json"]:
            print(json.dumps(report["json"]))
    return 0


def make_cases(
    networks: Mapping[str, TrainedNetwork], args: Mapping[str, Any], device: Any
) -> tuple[dict[str, Predictor], Protocol]:
    """Predictors by case name: each network, and the fused one with each input left empty."""
    import torch

    from training.scoring import Protocol, make_predictor

    window = convert(args["window"], tuple[int, int], "window") if args["window"] else None
    scales = convert(args["multi_scale"], tuple[float, ...], "multi-scale")
    native = args["native"] or window is not None
    protocol = Protocol(scales, args["flip"], native, window, args["stride"])
    cases: dict[str, Predictor] = {}
    for name, network in networks.items():
        record = network.record
        module = network.module.to(device)
        cases[name] = make_predictor(module, record.spec.modality, record.preprocess, protocol)
    fused = cases.get("rgbd")
    if fused is not None:
        # Empty as in the engine: depth is invalid everywhere, color is black.
        cases["rgbd, depth empty"] = lambda images: fused(
            dataclasses.replace(images, depth=torch.full_like(images.depth, float("nan")))
        )
        cases["rgbd, rgb empty"] = lambda images: fused(
            dataclasses.replace(images, rgb=torch.zeros_like(images.rgb))
        )
    return cases, protocol


def evaluate(
    networks: Mapping[str, TrainedNetwork], config: RunConfig, args: Mapping[str, Any], device: Any
) -> dict[str, Any]:
    """Score every case on one split; write files under ``--out``.

    Returns:
        ``json``, the documented keys, and ``text``, the tables.
    """
    from rgbd_seg_ros.progress import progress_bar
    from training.data.datasets import open_split
    from training.data.loader import scoring_loader
    from training.distributed import is_main
    from training.scoring import score

    labels = next(iter(networks.values())).record.labels
    samples = open_split(dataclasses.replace(config, overfit=0), args["split"])
    if samples.label_set.classes != labels.classes:
        raise UsageError(
            f"the networks have label set {labels.name!r} ({len(labels)} classes), the dataset "
            f"has {samples.label_set.name!r} ({len(samples.label_set)}): choose a dataset with "
            "the networks' label set"
        )
    cases, protocol = make_cases(networks, args, device)
    loader = scoring_loader(samples, config.eval_batch, config.workers, device)
    batches = progress_bar("scoring", len(loader), "batch", iterable=loader, disable=not is_main())
    with out_of_memory(f"while scoring: lower --eval-batch (now {config.eval_batch})"):
        matrices = score(cases, batches, len(labels), device)
    document = to_json(matrices, list(networks), labels.classes)
    document |= {
        "data": config.data,
        "split": args["split"],
        "frames": len(samples),
        "protocol": dataclasses.asdict(protocol),
    }
    if args["out"] and is_main():
        write_report(args["out"], document, matrices, cases, samples, args["panels"], device)
    return {"json": document, "text": to_text(document, matrices, labels.classes)}


def to_json(
    matrices: Mapping[str, ConfusionMatrix], names: list[str], classes: tuple[str, ...]
) -> dict[str, Any]:
    """The documented keys; top-level scores are the fused network's, or else the first one's."""
    from training.results import scores

    networks: dict[str, Any] = {}
    for name in names:
        iou = {c: round(float(v), 5) for c, v in zip(classes, matrices[name].iou, strict=True)}
        iou = {c: None if v != v else v for c, v in iou.items()}  # JSON has no NaN
        networks[name] = {**scores(matrices[name]), "iou": iou}
    main_name = "rgbd" if "rgbd" in names else names[0]
    drop: dict[str, float | None] | None = None
    if set(names) <= {"rgbd", "rgb", "depth"}:
        drop = {}
        for row, (_, candidates) in DROP_ROWS.items():
            case = next((case for case in candidates if case in matrices), None)
            drop[row] = round(matrices[case].miou, 5) if case else None
    return {**networks[main_name], "sensor_drop": drop, "networks": networks}


def to_text(
    document: Mapping[str, Any],
    matrices: Mapping[str, ConfusionMatrix],
    classes: tuple[str, ...],
) -> str:
    """The per-class table with averages, and the sensor-drop table."""
    from rgbd_seg_ros.text_table import text_table

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
        f"{text_table(rows)}\n"
    )
    if document["sensor_drop"]:
        drop = [["sensors", "mIoU"]]
        for row, value in document["sensor_drop"].items():
            if value is not None or not row.endswith("_without_fallback"):
                cell = "no mask" if value is None else f"{100 * value:.1f}"
                drop.append([DROP_ROWS[row][0], cell])
        text += f"\n{text_table(drop)}\n"
    return text


def write_report(
    folder: Path,
    document: Mapping[str, Any],
    matrices: Mapping[str, ConfusionMatrix],
    cases: Mapping[str, Predictor],
    samples: Samples,
    panels: int,
    device: Any,
) -> None:
    """Write scores, confusion matrices (CSV and image), mask panels and the legend of colors."""
    import numpy as np

    from rgbd_seg_ros.colorize import legend
    from rgbd_seg_ros.image_io import write_image
    from training.scoring import panel

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "scores.json", json.dumps(document, indent=1) + "\n")
    classes = samples.label_set.classes
    for name, matrix in matrices.items():
        stem = "confusion_" + re.sub(r"[^\w.-]+", "_", name)
        write_csv(folder / f"{stem}.csv", matrix, classes)
        draw_confusion(folder / f"{stem}.png", matrix, classes, name)
    # Spread evenly over the split, because its first frames may all show one room.
    for index in np.linspace(0, len(samples) - 1, min(panels, len(samples))).round().astype(int):
        image = panel(samples[int(index)], cases, samples.label_set, device)
        write_image(folder / f"panel_{index:06d}.png", image)
    write_image(folder / "legend.png", legend(samples.label_set))


def write_csv(path: Path, matrix: ConfusionMatrix, classes: tuple[str, ...]) -> None:
    """Write pixel counts: one row per true class, one column per predicted class."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["truth \\ predicted", *classes, "none"])
    for name, row in zip(classes, matrix.counts.tolist(), strict=True):
        writer.writerow([name, *row])
    write_atomically(path, text.getvalue())


def draw_confusion(
    path: Path, matrix: ConfusionMatrix, classes: tuple[str, ...], title: str
) -> None:
    """Draw the share of each true class's pixels per predicted class."""
    import numpy as np

    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "drawing a confusion matrix needs matplotlib: pip install matplotlib"
        ) from error
    counts = matrix.counts[:, : len(classes)].astype(np.float64)
    share = counts / np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.32 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("ground truth")
    axes.set_title(title)
    if len(classes) <= 20:  # with more classes, the numbers would be unreadable
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.005:
                color = "black" if value > 0.6 else "white"
                axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center",
                          color=color, fontsize=7)  # fmt: skip
    figure.colorbar(image, label="share of the true class's pixels", shrink=0.8)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    write_atomically(path, png.getvalue())


if __name__ == "__main__":
    sys.exit(run_command(main))
