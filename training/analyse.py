# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.analyse`: what networks have in common, stage by stage, and their masks."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.config import RunConfig, run_command
from training.evaluate import DATA_KEYS, load_networks, recipe_of
from training.options import UsageError, add_options, fill, parse_flags, read_yaml

if TYPE_CHECKING:
    import torch

    from rgbd_seg_ros.bundle import Network
    from training.similarity import Histogram


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.analyse",
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
        document = analyse(networks, config, args, device)
    print(to_text(document), file=sys.stderr)
    if args["json"]:
        print(json.dumps(document))
    return 0


def _named(named: list[tuple[str, str]]) -> dict[str, Network]:
    networks: dict[str, Network] = {}
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


def analyse(
    networks: Mapping[str, Network], config: RunConfig, args: Mapping[str, Any], device: Any
) -> dict[str, Any]:
    """Figures of every stage; files under ``--out``."""
    import numpy as np
    import torch

    from rgbd_seg_ros.predict import write_picture
    from training.data.loader import scoring_loader
    from training.data.sample import Subset
    from training.data.sources import open_split
    from training.panels import panel
    from training.runlog import tracked
    from training.scoring import of_one_kind, predictor, prepare, stack
    from training.similarity import Histogram, LinearCKA

    samples = open_split(config, args["split"])
    if samples.label_set.classes != next(iter(networks.values())).record.labels.classes:
        raise UsageError("the networks' classes are not those of the data")
    looked = Subset(samples, list(range(min(args["frames"], len(samples)))))
    pairs = {pair: [LinearCKA() for _ in range(4)] for pair in itertools.combinations(networks, 2)}
    histograms = {name: [Histogram() for _ in range(4)] for name in networks}
    for network in networks.values():
        network.module.to(device)
    loader = scoring_loader(looked, config, device)
    with torch.inference_mode():
        for batch in tracked(loader, len(loader), "looking"):
            for some in of_one_kind(batch):
                pictures = stack(some, device)
                maps: dict[str, tuple[torch.Tensor, ...]] = {}
                for name, network in networks.items():
                    record = network.record
                    inputs = prepare(pictures, record.spec.modality, record.preprocess, False)
                    maps[name] = network.module(*inputs).features
                    for histogram, values in zip(histograms[name], maps[name], strict=True):
                        histogram.update(values)
                for (a, b), stages in pairs.items():
                    for cka, x, y in zip(stages, maps[a], maps[b], strict=True):
                        cka.update(x, y)
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
        "cka": {" / ".join(p): [round(cka.value, 4) for cka in s] for p, s in pairs.items()},
        "histograms": {name: [h.to_json() for h in s] for name, s in histograms.items()},
    }
    (out / "analysis.json").write_text(json.dumps(document) + "\n")
    return document


def draw_histograms(path: Path, histograms: Mapping[str, list[Histogram]]) -> None:
    """One column per stage, one line per network."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("the histograms need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(14, 3.4), layout="constrained")
    for stage, axes in enumerate(figure.subplots(1, 4)):
        for name, stages in histograms.items():
            edges = stages[stage].edges
            axes.plot((edges[1:] + edges[:-1]) / 2, stages[stage].density, label=name)
        axes.set_title(f"stage {stage + 1}")
        axes.set_xlabel("value of the stage map")
        axes.set_yscale("log")
    figure.axes[0].set_ylabel("density")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)


def to_text(document: Mapping[str, Any]) -> str:
    """The table of CKA."""
    from training.runlog import table

    rows = [["linear CKA", *(f"stage {n}" for n in range(1, 5))]]
    rows += [[pair, *(f"{v:.3f}" for v in stages)] for pair, stages in document["cka"].items()]
    return f"\n{document['data']}, split {document['split']}, {document['frames']} frames\n\n" + (
        table(rows)
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
