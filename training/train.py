# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.train METHOD`: trains from a recipe and flags, on one or more GPUs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from training.command import run_command
from training.config import SAVED_RECIPE, has_checkpoint
from training.methods import METHODS
from training.options import UsageError, lookup
from training.settings import Settings, resolve, to_yaml

USAGE = """\
usage: python -m training.train METHOD [--config RECIPE.yaml] [--key value ...]
       torchrun --nproc-per-node N -m training.train METHOD ...

METHOD is one of: {methods}
Recipes are in config/train/. Options of a method: python -m training.train METHOD --help
"""


def main(argv: list[str] | None = None) -> int:
    """Parse, train, and return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    usage = USAGE.format(methods=", ".join(METHODS))
    if not argv or argv[0] in ("-h", "--help"):
        print(usage, file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    lookup("method", argv[0], METHODS)
    settings = resolve(argv[0], argv[1:])

    from training.pretrained import check_sources

    check_sources(settings.options)
    prepare_folder(settings)

    from training.class_weights import weight_of_each
    from training.data.folder import tell
    from training.distributed import process_group
    from training.loop import Run, TrainingStopped

    with process_group(settings.run.device) as device:
        run = Run(settings, device)
        run.log.say(to_yaml(run.settings).rstrip())
        run.log.say(f"{run.description} on {device}")
        if weights := weight_of_each(run.config, run.task.labels.classes):
            run.log.say("class weights: " + ", ".join(f"{c} {w:g}" for c, w in weights.items()))
        for line in run.warnings:
            tell(line)  # once, although the warnings of a folder were told when it was opened
        try:
            run.train()
        except TrainingStopped as stopped:
            run.log.say(str(stopped))
            return stopped.exit_code
        except KeyboardInterrupt:  # a second Ctrl-C, or one outside the steps
            if not has_checkpoint(run.folder):
                raise
            run.log.say(f"interrupted; {run.how_to_resume}")
            return 130
    return 0


def prepare_folder(settings: Settings) -> None:
    """Create the run's folder.

    The recipe is written when training begins, so a rejected start leaves no run behind.

    Raises:
        UsageError: the folder contains another run, or there is no checkpoint to resume from.
    """
    if int(os.environ.get("RANK", "0")):
        return
    folder = Path(settings.run.out)
    started = (folder / SAVED_RECIPE).is_file()
    resumable = has_checkpoint(folder)
    if settings.run.resume and not resumable:
        again = "start over with --overwrite" if started else "omit --resume"
        raise UsageError(f"cannot resume: {folder} has no checkpoint; {again}")
    if settings.run.overwrite and (started or resumable):
        if not started:
            raise UsageError(f"{folder} is not the folder of a run, so it is not overwritten")
        shutil.rmtree(folder)
    elif (started or resumable) and not settings.run.resume:
        proceed = "add --resume to continue it, " if resumable else "add "
        raise UsageError(
            f"{folder} already contains a run; {proceed}--overwrite to delete it, "
            "or choose another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
