# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a run: method, its options and RunConfig, from a recipe and the command line."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgbd_seg_ros.files import write_atomically
from rgbd_seg_ros.names import did_you_mean
from training.config import SAVED_RECIPE, RunConfig
from training.methods import options_of
from training.options import UsageError, add_options, field_types, fill, parse_flags, read_yaml

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Settings:
    """A resolved command line."""

    #: A key of ``METHODS``.
    method: str
    run: RunConfig
    #: The method's own ``Config``.
    options: Any

    def to_dict(self) -> dict[str, Any]:
        """Every key and value, ready for YAML or JSON: a recipe that repeats the run."""
        flat = {**dataclasses.asdict(self.run), **dataclasses.asdict(self.options)}
        for command in ("resume", "overwrite"):  # these apply to one call, not to the run
            del flat[command]
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in flat.items()}
        return {"method": self.method, **plain}


def make_parser(method: str, prog: str) -> argparse.ArgumentParser:
    """The command-line parser of one method; imports the method and therefore torch."""
    parser = argparse.ArgumentParser(
        prog=f"{prog} {method}",
        usage=f"{prog} {method} [--config FILE] [--key value ...]",
        allow_abbrev=False,
        description=f"Train with the method {method}. Flags override the recipe.",
    )
    parser.add_argument("--config", metavar="FILE", help="recipe (YAML lines `key: value`)")
    add_options(parser, f"options of {method}", options_of(method))
    add_options(parser, "options of every method", RunConfig)
    return parser


def resolve(method: str, argv: list[str], prog: str = "python -m training.train") -> Settings:
    """The settings of a recipe and a command line, checked. Flags override the recipe.

    Raises:
        UsageError: an unknown key or flag (with a suggestion), a value of the wrong type or out of
            range, or a recipe for another method.
    """
    flags = parse_flags(make_parser(method, prog), argv)
    recipe_file = flags.pop("config", None)
    saved = Path(flags.get("out", "")) / SAVED_RECIPE
    if not recipe_file and "resume" in flags and flags.get("out") and saved.is_file():
        recipe_file = str(saved)  # resume with the configuration that the run started with
    recipe = read_yaml(Path(recipe_file)) if recipe_file else {}
    settings = from_dict(method, {**recipe, **flags}, recipe_file or "the command line")
    if not settings.run.out:
        out = str(Path("runs") / (Path(recipe_file).stem if recipe_file else method))
        settings = dataclasses.replace(settings, run=dataclasses.replace(settings.run, out=out))
    return settings


def from_dict(method: str, values: Mapping[str, Any], where: str) -> Settings:
    """Settings from raw values, such as a recipe's; the inverse of :meth:`Settings.to_dict`.

    Args:
        method: a key of ``METHODS``.
        values: keys of the run and of the method.
        where: source of the values, named in errors.

    Raises:
        UsageError: as :func:`resolve`.
    """
    values = dict(values)
    recipe_method = values.pop("method", method)
    if recipe_method != method:
        raise UsageError(f"{where} is a recipe for method {recipe_method!r}, not {method!r}")
    options = options_of(method)
    known = [*field_types(options), *field_types(RunConfig)]
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


def save_recipe(settings: Settings) -> None:
    """Write the resolved configuration into the run's folder."""
    write_atomically(Path(settings.run.out) / SAVED_RECIPE, to_yaml(settings))


def set_determinism(config: RunConfig, device: torch.device) -> None:
    """Set up bit-identical runs, or else the fastest cuDNN kernels."""
    import torch

    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic and device.type == "cuda"
