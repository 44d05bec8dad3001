# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a training run can be told: RunConfig, the method's own options, recipe files."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.methods import METHODS
from training.options import (
    UsageError,
    add_options,
    did_you_mean,
    fill,
    kinds,
    lookup,
    opt,
    parse_flags,
    read_yaml,
    shown,
)

#: The resolved configuration within a run's folder.
SAVED_RECIPE = "config.yaml"

AT_LEAST_1 = (
    *("epochs", "batch", "accumulate", "val_every", "eval_batch", "log_every"),
    *("train_frames", "val_frames", "test_frames"),
)
AT_LEAST_0 = (
    *("seed", "early_stop", "sanity_batches", "overfit", "checkpoint_every", "clip_norm"),
    *("weight_decay", "warmup_epochs", "warmup_lr", "min_lr"),
)


@dataclass(frozen=True)
class RunConfig:
    """Everything about a run that is not the method's own business."""

    # Run
    out: str = opt("", "folder of this run; default runs/NAME-OF-RECIPE")
    resume: bool = opt(False, "continue the run in --out from its last checkpoint")
    overwrite: bool = opt(False, "throw away a finished or unfinished run in --out")
    seed: int = opt(0, "of weights, order, augmentation and dropout")
    device: str = opt("auto", "auto, cpu, cuda or cuda:N")
    deterministic: bool = opt(False, "the same bits on every run, at some cost on a GPU")
    # Data
    data: str = opt("synthetic", "which data set: synthetic, folder, prepared")
    root: str = opt("", "the data set's folder, where it has one")
    size: tuple[int, int] = opt((120, 160), "height and width the network works at")
    native: bool = opt(
        False, "crop `size` from pictures as they are (papers), not resized (robots)"
    )
    val_fraction: float = opt(0.1, "held out of training where the data name no validation split")
    strict: bool = opt(False, "stop at a defective file instead of skipping it with a count")
    train_frames: int = opt(4000, "synthetic: frames rendered for training")
    val_frames: int = opt(300, "synthetic: frames rendered for validation")
    test_frames: int = opt(500, "synthetic: frames rendered for the test")
    scene_seed: int = opt(0, "synthetic: seed of the rooms")
    cache: str = opt("runs/cache", "where rendered frames and checks of files are kept")
    workers: int = opt(-1, "loader processes per rank; 0 loads in the main one, -1 chooses")
    # Normalization
    rgb_mean: tuple[float, float, float] = opt((0.485, 0.456, 0.406), "of RGB in 0..1")
    rgb_std: tuple[float, float, float] = opt((0.229, 0.224, 0.225), "of RGB in 0..1")
    depth_encoding: str = opt("zscore", "zscore, disparity or hha")
    depth_mean: float = opt(
        2.5, "mean of the encoded depth over the training set, m or 1/m; HHA has ImageNet's"
    )
    depth_std: float = opt(1.5, "its deviation, likewise")
    depth_clip_m: tuple[float, float] = opt(
        (0.2, 10.0), "meters are clamped to this range; not for HHA"
    )
    depth_holes: str = opt("reference", "HHA without depth: reference (255, height, 218) or zero")
    # Augmentation
    flip: float = opt(0.5, "probability of a mirrored view")
    scales: tuple[float, ...] = opt((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), "zoom, one drawn per view")
    jitter: tuple[float, float, float, float] = opt(
        (0.3, 0.3, 0.3, 0.05), "brightness, contrast, saturation, hue of the color picture"
    )
    depth_follows_scale: bool = opt(False, "divide meters by the zoom, as if one came nearer")
    # Optimization
    epochs: int = opt(50, "passes over the training set")
    batch: int = opt(8, "samples per optimizer step, over all ranks and accumulation")
    accumulate: int = opt(1, "parts a rank computes its share of a batch in, to save memory")
    lr: float = opt(6e-5, "peak learning rate of AdamW")
    warmup_epochs: float = opt(1.0, "linear warm-up")
    warmup_lr: float = opt(1e-6, "learning rate that the warm-up starts from")
    schedule: Literal["poly", "cosine", "constant"] = opt("poly", "decay after the warm-up")
    poly_power: float = opt(0.9, "of (1 - step/steps)")
    min_lr: float = opt(0.0, "where cosine ends")
    weight_decay: float = opt(0.01, "on weights of convolutions and linear layers only")
    betas: tuple[float, float] = opt((0.9, 0.999), "of AdamW")
    clip_norm: float = opt(0.0, "largest gradient norm; 0: no limit")
    ema: float = opt(0.0, "decay of the averaged weights that are validated and kept; 0: none")
    amp: Literal["off", "bf16", "fp16"] = opt("off", "mixed precision")
    channels_last: bool = opt(True, "memory layout of pictures and kernels")
    compile: bool = opt(False, "torch.compile the step")
    sync_bn: bool = opt(True, "batch norm over all ranks' samples")
    # Watching
    val_every: int = opt(1, "epochs between validations")
    eval_batch: int = opt(16, "pictures per validation batch")
    early_stop: int = opt(0, "stop after so many validations without a better one; 0: never")
    sanity_batches: int = opt(2, "validation batches tried before the first step")
    overfit: int = opt(0, "train and validate on the first N samples only, to find faults")
    checkpoint_every: int = opt(0, "steps between checkpoints; 0: at every validation")
    log_every: int = opt(20, "steps between progress lines")
    tensorboard: bool = opt(True, "write TensorBoard files beside the JSON lines")

    def __post_init__(self) -> None:
        def check(fine: bool, key: str, allowed: str) -> None:
            if not fine:
                raise UsageError(f"{key} must be {allowed}, got {shown(getattr(self, key))}")

        for key in AT_LEAST_1:
            check(getattr(self, key) >= 1, key, "1 or more")
        for key in AT_LEAST_0:
            check(getattr(self, key) >= 0, key, "0 or more")
        check(self.lr > 0, "lr", "above 0")
        check(self.seed < 2**32, "seed", "below 4294967296")
        check(min(self.betas) >= 0 and max(self.betas) < 1, "betas", "from 0 to below 1")
        check(min(self.size) >= 32, "size", "at least 32,32")
        check(0 <= self.flip <= 1, "flip", "from 0 to 1")
        check(bool(self.scales) and min(self.scales) > 0, "scales", "one or more zooms above 0")
        check(min(self.jitter) >= 0 and max(self.jitter[:3]) <= 1 and self.jitter[3] <= 0.5,
              "jitter", "0 to 1 for the first three, 0 to 0.5 for hue")  # fmt: skip
        check(0 <= self.ema < 1, "ema", "from 0 to below 1, for example 0.999")
        check(0 < self.val_fraction < 1, "val_fraction", "between 0 and 1")
        check(self.workers >= -1, "workers", "-1, 0 or more")
        check(not (self.resume and self.overwrite), "resume", "given without overwrite")


@dataclass(frozen=True)
class Settings:
    """A resolved command line."""

    #: A key of ``METHODS``.
    method: str
    run: RunConfig
    #: The method's own ``Config``.
    options: Any

    def to_dict(self) -> dict[str, Any]:
        """Every key with its value, ready for YAML or JSON; a recipe that repeats the run."""
        flat = {**dataclasses.asdict(self.run), **dataclasses.asdict(self.options)}
        for command in ("resume", "overwrite"):  # of the moment, not of the run
            del flat[command]
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in flat.items()}
        return {"method": self.method, **plain}


def options_of(method: str) -> type:
    """The ``Config`` dataclass of a method's file, without the rest of that file.

    ``--help`` must list the options in less time than it takes to import torch, which the
    method's own class needs. So only the light imports and the dataclass are executed.
    """
    name = f"training.methods.{method}"
    class_name: str = lookup("method", method, METHODS)
    if name in sys.modules and hasattr(sys.modules[name], class_name):
        return sys.modules[name].Config
    light = f"{name}:options"
    if light not in sys.modules:
        path = Path(__file__).parent / "methods" / f"{method}.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tree.body = [node for node in tree.body if _is_light(node)]
        module = types.ModuleType(light)
        exec(compile(tree, str(path), "exec"), vars(sys.modules.setdefault(light, module)))
    return sys.modules[light].Config


def _is_light(node: ast.stmt) -> bool:
    sources = {"__future__", "dataclasses", "typing", "training.options"}
    return (isinstance(node, ast.ImportFrom) and node.module in sources) or (
        isinstance(node, ast.ClassDef) and node.name == "Config"
    )


def method_class(method: str) -> Any:
    """The method's class; imports torch."""
    class_name = lookup("method", method, METHODS)
    return getattr(importlib.import_module(f"training.methods.{method}"), class_name)


def make_parser(method: str, prog: str) -> argparse.ArgumentParser:
    """The parser of one method's command line."""
    parser = argparse.ArgumentParser(
        prog=f"{prog} {method}",
        usage=f"{prog} {method} [--config FILE] [--key value ...]",
        allow_abbrev=False,
        description=f"Train by {method}. Recipe first, then flags: the flags win.",
    )
    parser.add_argument("--config", metavar="FILE", help="recipe, YAML lines `key: value`")
    add_options(parser, f"options of {method}", options_of(method))
    add_options(parser, "options of every method", RunConfig)
    return parser


def resolve(method: str, argv: list[str], prog: str = "python -m training.train") -> Settings:
    """Recipe plus command line, checked.

    Raises:
        UsageError: an unknown key or flag (with a suggestion), a value of a wrong type or range,
            a recipe of another method.
    """
    flags = parse_flags(make_parser(method, prog), argv)
    recipe_file = flags.pop("config", None)
    saved = Path(flags.get("out", "")) / SAVED_RECIPE
    if not recipe_file and "resume" in flags and flags.get("out") and saved.is_file():
        recipe_file = str(saved)  # a run remembers how it was started
    recipe = read_yaml(Path(recipe_file)) if recipe_file else {}
    settings = from_dict(method, {**recipe, **flags}, recipe_file or "the command line")
    if not settings.run.out:
        out = str(Path("runs") / (Path(recipe_file).stem if recipe_file else method))
        settings = dataclasses.replace(settings, run=dataclasses.replace(settings.run, out=out))
    return settings


def from_dict(method: str, values: Mapping[str, Any], where: str) -> Settings:
    """Settings from raw values, such as a recipe's; the inverse of :meth:`Settings.to_dict`."""
    values = dict(values)
    meant = values.pop("method", method)
    if meant != method:
        raise UsageError(f"{where} is a recipe of method {meant!r}, not {method!r}")
    options = options_of(method)
    known = [*kinds(options), *kinds(RunConfig)]
    for key in values:
        if key not in known:
            raise UsageError(
                f"{where}: unknown key {key!r}{did_you_mean(key, known)} "
                f"(all: python -m training.train {method} --help)"
            )
    return Settings(method, fill(RunConfig, values), fill(options, values))


def to_yaml(settings: Settings) -> str:
    """The resolved configuration as a recipe."""
    import yaml

    return yaml.safe_dump(settings.to_dict(), sort_keys=False, default_flow_style=None, width=95)


def run_command(main: Callable[[], int]) -> int:
    """Run a verb; a user's mistake becomes one line and exit code 2, Ctrl-C exit code 130."""
    try:
        return main()
    except (UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except ValueError as error:
        if type(error) is ValueError:  # a fault of ours; BundleError and the like are subclasses
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
