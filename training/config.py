# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Options of a run that do not depend on the method, and what they say about data and input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rgbd_seg_ros.depth import IMAGENET_MEAN, IMAGENET_STD
from training.options import UsageError, as_text, fill, opt, read_yaml

if TYPE_CHECKING:
    from rgbd_seg_ros.preprocess import Preprocess

#: File of the resolved configuration in a run's folder.
SAVED_RECIPE = "config.yaml"

#: Keys of a recipe that select the data.
DATA_KEYS = (
    *("data", "root", "size", "val_fraction", "strict", "train_frames", "val_frames"),
    *("test_frames", "scene_seed", "cache", "workers", "eval_batch", "device"),
)
AT_LEAST_1 = ("epochs", "batch", "accumulate", "val_every", "eval_batch", "log_every")
AT_LEAST_0 = (
    *("seed", "early_stop", "sanity_batches", "overfit", "checkpoint_every", "clip_norm"),
    *("log_gradients", "weight_decay", "warmup_epochs", "warmup_lr", "min_lr", "focal_gamma"),
    *("train_frames", "val_frames", "test_frames"),
)


@dataclass(frozen=True)
class RunConfig:
    """Options of a run that do not depend on the method."""

    # Run
    out: str = opt("", "folder of this run (default runs/NAME-OF-RECIPE)")
    resume: bool = opt(False, "continue the run in --out from its last checkpoint")
    overwrite: bool = opt(False, "delete the run in --out, finished or not, and start again")
    seed: int = opt(0, "random seed of weights, sample order, augmentation and dropout")
    device: str = opt("auto", "auto, cpu, cuda or cuda:N")
    deterministic: bool = opt(False, "make every run bit-identical; slower on a GPU")
    # Data
    data: str = opt("synthetic", "dataset: synthetic, folder or prepared")
    root: str = opt("", "folder of the dataset (folder and prepared)")
    size: tuple[int, int] = opt((120, 160), "height and width of the network input")
    native: bool = opt(
        False,
        "crop `size` from full-size images, as in papers; false: resize them, as on a robot",
    )
    val_fraction: float = opt(
        0.1, "share of the training data held out if the dataset has no validation split"
    )
    strict: bool = opt(False, "stop at an unreadable file instead of skipping and counting it")
    train_frames: int = opt(0, "number of training frames; 0: all files, or 4000 synthetic rooms")
    val_frames: int = opt(0, "number of validation frames; 0: all files, or 300 synthetic rooms")
    test_frames: int = opt(0, "number of test frames; 0: all files, or 500 synthetic rooms")
    scene_seed: int = opt(0, "synthetic: random seed of the rooms")
    cache: str = opt("runs/cache", "folder for rendered frames and the results of file checks")
    workers: int = opt(-1, "loader processes per rank; 0: load in the main process; -1: automatic")
    # Normalization
    rgb_mean: tuple[float, float, float] = opt(IMAGENET_MEAN, "mean of RGB in 0..1")
    rgb_std: tuple[float, float, float] = opt(IMAGENET_STD, "std of RGB in 0..1")
    depth_encoding: str = opt("zscore", "zscore, disparity or hha")
    depth_mean: float = opt(
        2.5, "mean of the encoded depth over the training set, in m or 1/m; HHA uses ImageNet's"
    )
    depth_std: float = opt(
        1.5, "std of the encoded depth over the training set, in m or 1/m; HHA uses ImageNet's"
    )
    depth_clip_m: tuple[float, float] = opt(
        (0.2, 10.0), "range in meters that depth is clamped to, except for HHA"
    )
    depth_holes: str = opt(
        "reference", "HHA of pixels without depth: reference (255, camera height, 218) or zero"
    )
    # Augmentation
    flip: float = opt(0.5, "probability of mirroring a view")
    scales: tuple[float, ...] = opt(
        (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), "scale factors; one is drawn per view"
    )
    jitter: tuple[float, float, float, float] = opt(
        (0.3, 0.3, 0.3, 0.05),
        "strength of brightness, contrast, saturation and hue jitter on the color image",
    )
    depth_follows_scale: bool = opt(
        False, "divide depth by the scale factor, as if the camera had moved closer"
    )
    # Optimization
    epochs: int = opt(50, "passes over the training set")
    batch: int = opt(8, "samples per optimizer step, over all ranks and accumulation parts")
    accumulate: int = opt(1, "parts that a rank splits its share of a batch into, to save memory")
    lr: float = opt(6e-5, "peak learning rate of AdamW")
    warmup_epochs: float = opt(1.0, "epochs of linear warm-up")
    warmup_lr: float = opt(1e-6, "learning rate at the start of the warm-up")
    loss: Literal["cross_entropy", "focal", "ohem"] = opt(
        "cross_entropy", "loss of every segmentation head; focal and ohem stress hard pixels"
    )
    focal_gamma: float = opt(2.0, "focal: power of (1 - p); 0: cross entropy")
    ohem_threshold: float = opt(0.7, "ohem: a pixel is hard if p of its class is below this")
    ohem_min_kept: float = opt(0.0625, "ohem: share of the labeled pixels to keep at least")
    class_weights: Literal["none", "median_frequency", "inverse_log"] | tuple[float, ...] = opt(
        "none",
        "weight of each class in the loss, computed from the training labels or given as numbers",
    )
    schedule: Literal["poly", "cosine", "constant"] = opt("poly", "decay after the warm-up")
    poly_power: float = opt(0.9, "power of (1 - step/steps) in the poly schedule")
    min_lr: float = opt(0.0, "learning rate at the end of the cosine schedule")
    weight_decay: float = opt(0.01, "weight decay of convolution and linear weights only")
    betas: tuple[float, float] = opt((0.9, 0.999), "betas of AdamW")
    clip_norm: float = opt(0.0, "maximum gradient norm; 0: no clipping")
    ema: float = opt(
        0.0, "decay of the weight average that is validated and saved; 0: no averaging"
    )
    amp: Literal["off", "bf16", "fp16"] = opt("off", "mixed precision")
    channels_last: bool = opt(True, "use the channels-last memory layout")
    compile: bool = opt(False, "run the step through torch.compile")
    sync_bn: bool = opt(True, "synchronize batch norm over all ranks")
    # Monitoring
    val_every: int = opt(1, "epochs between validations")
    eval_batch: int = opt(16, "images per validation batch")
    early_stop: int = opt(0, "stop after this many validations without improvement; 0: never")
    sanity_batches: int = opt(2, "validation batches to run before the first step")
    overfit: int = opt(0, "train and validate on the first N samples only, for debugging")
    checkpoint_every: int = opt(0, "steps between checkpoints; 0: only at validations")
    log_every: int = opt(20, "steps between progress lines")
    log_gradients: int = opt(
        0, "steps between measurements of each loss's gradient on each part; 0: never"
    )
    tensorboard: bool = opt(True, "write TensorBoard files beside log.jsonl")

    def __post_init__(self) -> None:
        def check(fine: bool, key: str, allowed: str) -> None:
            if not fine:
                raise UsageError(f"{key} must be {allowed}, got {as_text(getattr(self, key))}")

        for key in AT_LEAST_1:
            check(getattr(self, key) >= 1, key, "1 or more")
        for key in AT_LEAST_0:
            check(getattr(self, key) >= 0, key, "0 or more")
        check(self.lr > 0, "lr", "above 0")
        check(self.seed < 2**32, "seed", "below 4294967296")
        check(min(self.betas) >= 0 and max(self.betas) < 1, "betas", "at least 0 and below 1")
        check(min(self.size) >= 32, "size", "at least 32,32")
        check(0 <= self.flip <= 1, "flip", "from 0 to 1")
        check(bool(self.scales) and min(self.scales) > 0, "scales", "one or more numbers above 0")
        check(min(self.jitter) >= 0 and max(self.jitter[:3]) <= 1 and self.jitter[3] <= 0.5,
              "jitter", "0 to 1 for the first three values and 0 to 0.5 for hue")  # fmt: skip
        check(not (self.log_gradients and self.compile), "log_gradients", "0 if compile is true")
        check(0 <= self.ema < 1, "ema", "at least 0 and below 1, for example 0.999")
        check(0 < self.ohem_threshold < 1, "ohem_threshold", "between 0 and 1")
        check(0 <= self.ohem_min_kept <= 1, "ohem_min_kept", "from 0 to 1")
        if isinstance(self.class_weights, tuple):
            check(min(self.class_weights, default=-1) >= 0 and max(self.class_weights) > 0,
                  "class_weights", "numbers of 0 or more, not all 0")  # fmt: skip
        check(0 < self.val_fraction < 1, "val_fraction", "between 0 and 1")
        check(self.workers >= -1, "workers", "-1, 0 or more")
        check(not (self.resume and self.overwrite), "resume", "used without overwrite")


def unused_options(config: RunConfig) -> list[str]:
    """One line for each option that was set but has no effect together with the others."""
    needs = {"focal_gamma": "focal", "ohem_threshold": "ohem", "ohem_min_kept": "ohem"}
    default = RunConfig()
    return [
        f"{key} {as_text(getattr(config, key))} has no effect with loss {config.loss}: "
        f"set loss to {loss}, or omit {key}"
        for key, loss in needs.items()
        if config.loss != loss and getattr(config, key) != getattr(default, key)
    ]


def data_config(values: Mapping[str, Any]) -> RunConfig:
    """The configuration of the data, from raw values; keys not in ``DATA_KEYS`` are ignored.

    Raises:
        UsageError: a value of the wrong type or out of range.
    """
    return fill(RunConfig, {k: v for k, v in values.items() if k in DATA_KEYS})


def recipe_of(paths: list[Path]) -> dict[str, Any]:
    """The recipe of the first run among the paths, which specifies its training data."""
    for path in paths:
        if (path / SAVED_RECIPE).is_file():
            return read_yaml(path / SAVED_RECIPE)
    return {}


def has_checkpoint(folder: Path) -> bool:
    """Whether the run in a folder has a checkpoint to resume from."""
    return any((folder / "checkpoints").glob("step_*"))


def preprocess_of(config: RunConfig) -> Preprocess:
    """The input size, normalization and depth encoding of a configuration.

    Raises:
        UsageError: values that are not compatible.
    """
    from rgbd_seg_ros.depth import DepthEncoding
    from rgbd_seg_ros.preprocess import Preprocess

    try:
        if config.depth_encoding == "hha":
            if config.depth_follows_scale:
                raise UsageError(
                    "depth_follows_scale would distort the geometry that HHA is computed from: "
                    "omit it, or choose another depth_encoding"
                )
            depth = DepthEncoding.for_hha(config.depth_holes)
        else:
            depth = DepthEncoding(
                config.depth_encoding, config.depth_mean, config.depth_std, config.depth_clip_m
            )
        return Preprocess(config.size, config.rgb_mean, config.rgb_std, depth)
    except ValueError as error:
        raise UsageError(str(error)) from error
