# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.analyze`: what networks have in common, stage by stage, and their masks."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.config import RunConfig, run_command
from training.evaluate import DATA_KEYS, load_networks, recipe_of
from training.options import UsageError, add_options, fill, parse_flags, read_yaml

if TYPE_CHECKING:
    from rgbd_seg_ros.bundle import TrainedNetwork
    from training.similarity import Histogram

#: The first frames, one by one whatever the batch is, tell the range of the histograms.
RANGE_FRAMES = 8


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.analyze",
        allow_abbrev=False,
        description="Linear CKA between every two networks per stage, histograms of their stage "
        "maps' values, and panels of every network's mask (PrimKD, figure 4 and table 8).",
    )
    parser.add_argument(
        "networks", nargs="+", metavar="[NAME=]CHECKPOINT",
        help="a run's folder, a .safetensors network or a bundle's folder",
    )  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="recipe that names the data")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--frames", type=int, default=200, metavar="N", help="frames looked at")
    parser.add_argument("--panels", type=int, default=6, metavar="N", help="pictures of masks")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="tables, pictures")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in --out")
    parser.add_argument("--json", action="store_true", help="print the figures on stdout")
    add_options(parser, "data", RunConfig, DATA_KEYS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, look at the frames, write tables and pictures; the exit code."""
    args = parse_flags(make_parser(), sys.argv[1:] if argv is None else argv)
    out: Path = args["out"]
    if out.exists() and any(out.iterdir()) and not args["overwrite"]:
        raise UsageError(f"{out} is not empty; choose another --out or add --overwrite")
    if args["frames"] < 1 or args["panels"] < 0:
        raise UsageError(
            f"--frames must be 1 or more and --panels 0 or more, got {args['frames']} and "
            f"{args['panels']}"
        )
    named = [text.rpartition("=")[::2] for text in args["networks"]]
    paths = [Path(path) for _, path in named]
    recipe = read_yaml(Path(args["config"])) if args["config"] else recipe_of(paths)
    flags = {key: args[key] for key in DATA_KEYS if key in args}

    from training.distributed import process_group

    with process_group(str(flags.get("device", "auto"))) as device:
        networks = _named(named)
        first = next(iter(networks.values()))
        recipe = {"size": list(first.record.preprocess.size), **recipe}
        config = fill(RunConfig, {k: v for k, v in {**recipe, **flags}.items() if k in DATA_KEYS})
        document = analyze(networks, config, args, device)
    print(to_text(document), file=sys.stderr)
    if args["json"]:
        print(json.dumps(document))
    return 0


def _named(named: list[tuple[str, str]]) -> dict[str, TrainedNetwork]:
    networks: dict[str, TrainedNetwork] = {}
    for name, path in named:
        loaded = load_networks([Path(path)])
        for own, network in loaded.items():
            key = own if not name else name if len(loaded) == 1 else f"{name}/{own}"
            if key in networks:
                raise UsageError(f"two networks are called {key!r}; say NAME={path}")
            networks[key] = network
    if len({network.record.labels for network in networks.values()}) > 1:
        raise UsageError("the networks have different label sets")
    return networks


def analyze(
    networks: Mapping[str, TrainedNetwork], config: RunConfig, args: Mapping[str, Any], device: Any
) -> dict[str, Any]:
    """Figures of every stage; files under ``--out``."""
    import numpy as np
    import torch

    from rgbd_seg_ros.predict import write_picture
    from training.data.datasets import open_split
    from training.data.loader import scoring_loader
    from training.data.sample import Subset
    from training.panels import panel
    from training.runlog import tracked
    from training.scoring import of_one_kind, predictor, stack
    from training.similarity import Histogram, LinearCKA, stage_maps, value_ranges

    samples = open_split(config, args["split"])
    if samples.label_set.classes != next(iter(networks.values())).record.labels.classes:
        raise UsageError("the networks' classes are not those of the data")
    looked = Subset(samples, list(range(min(args["frames"], len(samples)))))
    pairs = {pair: defaultdict(LinearCKA) for pair in itertools.combinations(networks, 2)}
    for network in networks.values():
        network.module.to(device)
    loader = scoring_loader(looked, config, device)
    with torch.inference_mode():
        ranges = value_ranges(
            stage_maps(network, stack([looked[index]], device))
            for index in range(min(RANGE_FRAMES, len(looked)))
            for network in networks.values()
        )
        histograms: dict[str, dict[str, Histogram]] = {stage: {} for stage in ranges}
        for batch in tracked(loader, len(loader), "looking"):
            for some in of_one_kind(batch):
                pictures = stack(some, device)
                maps = {name: stage_maps(network, pictures) for name, network in networks.items()}
                for name, own in maps.items():
                    for stage, values in own.items():
                        histogram = histograms[stage].setdefault(name, Histogram(*ranges[stage]))
                        histogram.update(values)
                for (a, b), found in pairs.items():
                    for stage in ranges:
                        if stage in maps[a] and stage in maps[b]:
                            found[stage].update(maps[a][stage], maps[b][stage])
    out: Path = args["out"]
    out.mkdir(parents=True, exist_ok=True)
    draw_histograms(out / "histograms.png", histograms)
    cases = {
        name: predictor(network.module, network.record.spec.modality, network.record.preprocess)
        for name, network in networks.items()
    }
    shown = min(args["panels"], len(looked))
    for index in np.linspace(0, len(looked) - 1, shown).round().astype(int):
        row = panel(looked[int(index)], cases, samples.label_set, device)
        write_picture(out / f"panel_{index:06d}.png", row)
    document = {
        "data": config.data,
        "split": args["split"],
        "frames": len(looked),
        "cka": {
            " / ".join(pair): {stage: round(cka.value, 4) for stage, cka in found.items()}
            for pair, found in pairs.items()
        },
        "histograms": {
            stage: {name: histogram.to_json() for name, histogram in of.items()}
            for stage, of in histograms.items()
        },
    }
    (out / "analysis.json").write_text(json.dumps(document) + "\n")
    return document


def draw_histograms(path: Path, histograms: Mapping[str, Mapping[str, Histogram]]) -> None:
    """One column per stage or half, one line per network."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("the histograms need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(3.5 * len(histograms), 3.4), layout="constrained")
    columns = figure.subplots(1, len(histograms))
    networks = list(next(iter(histograms.values())))  # all have a first stage
    for axes, (stage, of) in zip(columns, histograms.items(), strict=True):
        for name, histogram in of.items():
            edges = histogram.edges
            color = f"C{networks.index(name)}"
            axes.plot((edges[1:] + edges[:-1]) / 2, histogram.density, color, label=name)
        axes.set_title(stage)
        axes.set_xlabel("value")
        axes.set_yscale("log")
    figure.axes[0].set_ylabel("density")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)


def to_text(document: Mapping[str, Any]) -> str:
    """The table of CKA."""
    from training.runlog import table

    stages = list(document["histograms"])
    rows = [["linear CKA", *stages]]
    for pair, found in document["cka"].items():
        rows.append([pair, *(f"{found[s]:.3f}" if s in found else "-" for s in stages)])
    return f"\n{document['data']}, split {document['split']}, {document['frames']} frames\n\n" + (
        table(rows)
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
