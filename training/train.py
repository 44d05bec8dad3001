# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.train METHOD`: train a method by a recipe and flags, on one GPU or many."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from training.config import SAVED_RECIPE, Settings, resolve, run_command, to_yaml
from training.methods import METHODS
from training.options import UsageError, lookup

USAGE = """\
usage: python -m training.train METHOD [--config RECIPE.yaml] [--key value ...]
       torchrun --nproc-per-node N -m training.train METHOD ...

METHOD is one of: {methods}
Recipes are in config/train/; options of a method: python -m training.train METHOD --help
"""


def main(argv: list[str] | None = None) -> int:
    """Parse, then import torch and train; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    usage = USAGE.format(methods=", ".join(METHODS))
    if not argv or argv[0] in ("-h", "--help"):
        print(usage, file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    lookup("method", argv[0], METHODS)
    settings = resolve(argv[0], argv[1:])
    prepare_folder(settings)

    from training.distributed import process_group
    from training.loop import Run, TrainingStopped

    with process_group(settings.run.device) as device:
        run = Run(settings, device)
        run.log.say(to_yaml(settings).rstrip())
        run.log.say(f"{run.description} on {device}")
        try:
            run.train()
        except TrainingStopped as stopped:
            run.log.say(str(stopped))
            return stopped.exit_code
    return 0


def prepare_folder(settings: Settings) -> None:
    """Make the run's folder, with its recipe; refuse one where another run lives.

    On resume the old recipe stays until the run has accepted the new one.
    """
    if int(os.environ.get("RANK", "0")):
        return
    folder = Path(settings.run.out)
    old = [p for p in (folder / SAVED_RECIPE, folder / "checkpoints") if p.exists()]
    if old and settings.run.overwrite:
        if not (folder / SAVED_RECIPE).is_file():
            raise UsageError(f"{folder} is no run's folder; refusing to overwrite it")
        shutil.rmtree(folder)
    elif old and not settings.run.resume:
        raise UsageError(
            f"{folder} already holds a run; add --resume to continue it, --overwrite to "
            "throw it away, or choose another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not settings.run.resume:
        (folder / SAVED_RECIPE).write_text(to_yaml(settings), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_command(main))
