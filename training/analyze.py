# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.analyze`: compares networks stage by stage (CKA), and their masks."""

from __future__ import annotations

import argparse
import io
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.files import write_atomically
from training.command import require_empty, run_command
from training.config import DATA_KEYS, RunConfig, data_config, recipe_of
from training.networks import open_all
from training.options import UsageError, add_options, parse_flags, read_yaml

if TYPE_CHECKING:
    from torch import Tensor

    from rgbd_seg_ros.bundle import TrainedNetwork
    from training.scoring import Images

#: Number of leading frames that set the range of the histograms, regardless of the batch size.
RANGE_FRAMES = 8


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.analyze",
        allow_abbrev=False,
        description="Compute linear CKA per stage for each pair of networks, histograms of stage-"
        "map values, and panels of every network's mask (PrimKD, figure 4 and table 8).",
    )
    parser.add_argument(
        "networks", nargs="+", metavar="[NAME=]CHECKPOINT",
        help="folder of a run, a .safetensors network, or a bundle",
    )  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="recipe that chooses the data")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test",
                        help="split to analyze (default test)")  # fmt: skip
    parser.add_argument(
        "--frames", type=int, default=200, metavar="N", help="frames to analyze (default 200)"
    )
    parser.add_argument(
        "--panels", type=int, default=6, metavar="N", help="mask panels (default 6)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write tables and images to",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the contents of --out")
    parser.add_argument("--json", action="store_true", help="print the results on stdout")
    add_options(parser, "data", RunConfig, DATA_KEYS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, analyze, write tables and images; return the exit code."""
    args = parse_flags(make_parser(), sys.argv[1:] if argv is None else argv)
    require_empty(args["out"], args["overwrite"])
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
        networks = load_named(named)
        size = next(iter(networks.values())).record.preprocess.size
        config = data_config({"size": list(size), **recipe, **flags})
        document = analyze(networks, config, args, device)
    print(to_text(document), file=sys.stderr)
    if args["json"]:
        print(json.dumps(document))
    return 0


def load_named(named: list[tuple[str, str]]) -> dict[str, TrainedNetwork]:
    """Load the networks of (name, path) pairs; an empty name means the network's own name.

    Raises:
        UsageError: two networks with one name, or networks with different label sets.
    """
    networks: dict[str, TrainedNetwork] = {}
    for name, path in named:
        loaded = open_all([Path(path)])
        for own, network in loaded.items():
            key = own if not name else name if len(loaded) == 1 else f"{name}/{own}"
            if key in networks:
                raise UsageError(f"two networks are called {key!r}: name them with NAME={path}")
            networks[key] = network
    if len({network.record.labels for network in networks.values()}) > 1:
        raise UsageError("the networks have different label sets")
    return networks


# --- Measures ------------------------------------------------------------------------------------


def stage_maps(network: TrainedNetwork, images: Images) -> dict[str, Tensor]:
    """Maps B×C×h×w by name: the four stages and, for a split network, the halves of the last."""
    from training.scoring import prepare

    record, module = network.record, network.module
    features = module(*prepare(images, record.spec.modality, record.preprocess, False)).features
    maps = {f"stage {n}": values for n, values in enumerate(features, start=1)}
    if record.spec.split:
        halves = module.split(module.projection(features[-1]))
        maps |= zip(("invariant half", "specific half"), halves, strict=True)
    return maps


class LinearCKA:
    """Linear centered kernel alignment (arXiv 1905.00414, eq. 6) of two maps, pixel by pixel.

    ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F) over centered X (N×p) and Y (N×q), whose N rows are the pixels of
    all images. Sums are kept in float64, so any number of batches fits in memory.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums: dict[str, Tensor] = {}

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add two maps B×C×h×w; the finer one is resized to the coarser one's size."""
        from rgbd_seg_ros.models.network import resize

        size = (min(x.shape[2], y.shape[2]), min(x.shape[3], y.shape[3]))
        rows = {
            name: resize(v.float(), size).permute(0, 2, 3, 1).flatten(0, 2).double()
            for name, v in (("x", x), ("y", y))
        }
        self._count += len(rows["x"])
        for name, v in rows.items():
            self._add(name, v.sum(dim=0))
        for a, b in (("x", "x"), ("y", "y"), ("x", "y")):
            self._add(a + b, rows[a].T @ rows[b])

    def _add(self, key: str, value: Tensor) -> None:
        self._sums[key] = self._sums[key] + value if key in self._sums else value

    @property
    def value(self) -> float:
        """From 0 (no linear relation) to 1 (equal up to rotation and scale).

        NaN if a map is constant or none was added.
        """
        if not self._count:
            return float("nan")

        def squared(a: str, b: str) -> Tensor:
            centered = self._sums[a + b] - self._sums[a].outer(self._sums[b]) / self._count
            return centered.square().sum()

        return float(squared("x", "y") / (squared("x", "x").sqrt() * squared("y", "y").sqrt()))


def value_ranges(seen: Iterable[Mapping[str, Tensor]]) -> dict[str, tuple[float, float]]:
    """Range of each map by name: lowest 0.1 % to highest 99.9 % quantile over all networks."""
    ranges: dict[str, tuple[float, float]] = {}
    for maps in seen:
        for name, values in maps.items():
            quantiles = np.percentile(values.double().cpu().numpy(), (0.1, 99.9))
            low, high = ranges.get(name, quantiles)
            ranges[name] = float(min(low, quantiles[0])), float(max(high, quantiles[1]))
    return ranges


class Histogram:
    """Histogram of a map's values between two bounds, with counts of those below and above."""

    def __init__(self, low: float, high: float, bins: int = 100) -> None:
        self.edges = np.linspace(low, max(high, low + 1e-6), bins + 1)
        self.counts = np.zeros(bins, dtype=np.int64)
        self.below = self.above = 0

    def update(self, values: Tensor) -> None:
        """Add every value of a map."""
        array = values.flatten().double().cpu().numpy()
        low, high = self.edges[0], self.edges[-1]
        self.below += int((array < low).sum())
        self.above += int((array > high).sum())
        # A range, because with bin edges NumPy would search for the bin of every value.
        self.counts += np.histogram(array, len(self.counts), (low, high))[0]

    @property
    def density(self) -> npt.NDArray[np.float64]:
        """Share of all values per unit; its integral is the share within the bounds."""
        total = self.counts.sum() + self.below + self.above
        return self.counts / max(1, total) / np.diff(self.edges)

    def to_json(self) -> dict[str, Any]:
        """Edges and counts."""
        return {
            "edges": self.edges.round(5).tolist(),
            "counts": self.counts.tolist(),
            "below": self.below,
            "above": self.above,
        }


# --- Analysis ------------------------------------------------------------------------------------


def analyze(
    networks: Mapping[str, TrainedNetwork], config: RunConfig, args: Mapping[str, Any], device: Any
) -> dict[str, Any]:
    """Measure every stage; write ``analysis.json``, histograms and mask panels under ``--out``."""
    import torch

    from rgbd_seg_ros.image_io import write_image
    from rgbd_seg_ros.progress import progress_bar
    from training.data.datasets import open_split
    from training.data.loader import scoring_loader
    from training.data.sample import Subset
    from training.scoring import make_predictor, panel, stack, stackable

    samples = open_split(config, args["split"])
    if samples.label_set.classes != next(iter(networks.values())).record.labels.classes:
        raise UsageError("the networks and the dataset have different classes")
    frames = Subset(samples, list(range(min(args["frames"], len(samples)))))
    pairs = {pair: defaultdict(LinearCKA) for pair in itertools.combinations(networks, 2)}
    for network in networks.values():
        network.module.to(device)
    loader = scoring_loader(frames, config.eval_batch, config.workers, device)
    with torch.inference_mode():
        ranges = value_ranges(
            stage_maps(network, stack([frames[index]], device))
            for index in range(min(RANGE_FRAMES, len(frames)))
            for network in networks.values()
        )
        histograms: dict[str, dict[str, Histogram]] = {stage: {} for stage in ranges}
        for batch in progress_bar("analyzing", len(loader), "batch", iterable=loader):
            for group in stackable(batch):
                images = stack(group, device)
                maps = {name: stage_maps(network, images) for name, network in networks.items()}
                for name, own in maps.items():
                    for stage, values in own.items():
                        histogram = histograms[stage].setdefault(name, Histogram(*ranges[stage]))
                        histogram.update(values)
                for (a, b), stages in pairs.items():
                    for stage in ranges:
                        if stage in maps[a] and stage in maps[b]:
                            stages[stage].update(maps[a][stage], maps[b][stage])
    out: Path = args["out"]
    out.mkdir(parents=True, exist_ok=True)
    draw_histograms(out / "histograms.png", histograms)
    cases = {
        name: make_predictor(
            network.module, network.record.spec.modality, network.record.preprocess
        )
        for name, network in networks.items()
    }
    panels = min(args["panels"], len(frames))
    for index in np.linspace(0, len(frames) - 1, panels).round().astype(int):
        image = panel(frames[int(index)], cases, samples.label_set, device)
        write_image(out / f"panel_{index:06d}.png", image)
    document = {
        "data": config.data,
        "split": args["split"],
        "frames": len(frames),
        "cka": {
            " / ".join(pair): {stage: round(cka.value, 4) for stage, cka in stages.items()}
            for pair, stages in pairs.items()
        },
        "histograms": {
            stage: {name: histogram.to_json() for name, histogram in by_network.items()}
            for stage, by_network in histograms.items()
        },
    }
    write_atomically(out / "analysis.json", json.dumps(document) + "\n")
    return document


def draw_histograms(path: Path, histograms: Mapping[str, Mapping[str, Histogram]]) -> None:
    """Draw one plot per stage or half, with one line per network."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("drawing histograms needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(3.5 * len(histograms), 3.4), layout="constrained")
    columns = figure.subplots(1, len(histograms))
    networks = list(next(iter(histograms.values())))  # every network has the first stage
    for axes, (stage, by_network) in zip(columns, histograms.items(), strict=True):
        for name, histogram in by_network.items():
            edges = histogram.edges
            color = f"C{networks.index(name)}"
            axes.plot((edges[1:] + edges[:-1]) / 2, histogram.density, color, label=name)
        axes.set_title(stage)
        axes.set_xlabel("value")
        axes.set_yscale("log")
    figure.axes[0].set_ylabel("density")
    figure.axes[0].legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    write_atomically(path, image.getvalue())


def to_text(document: Mapping[str, Any]) -> str:
    """The CKA table as text."""
    from rgbd_seg_ros.text_table import text_table

    stages = list(document["histograms"])
    rows = [["linear CKA", *stages]]
    for pair, found in document["cka"].items():
        rows.append([pair, *(f"{found[s]:.3f}" if s in found else "-" for s in stages)])
    return f"\n{document['data']}, split {document['split']}, {document['frames']} frames\n\n" + (
        text_table(rows)
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
