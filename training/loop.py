# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps, validation, checkpoints and results, the same for every method."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rgbd_seg_ros.metrics import ConfusionMatrix
from training import checkpoint, distributed, results
from training.class_weights import resolve_class_weights
from training.command import Interrupt, out_of_memory
from training.config import preprocess_of, unused_options
from training.data.datasets import notes_of, open_split, report_classes
from training.data.loader import BatchPlan, scoring_loader, to_batch, training_loader
from training.gradient_meter import log_gradients
from training.methods import build_method
from training.methods.base import Method, Task
from training.methods.losses import segmentation_loss
from training.options import UsageError
from training.runlog import Clock, RunLog, progress_line
from training.schedule import AveragedWeights, learning_rate, parameter_groups
from training.scoring import Predictor, Protocol, make_predictor, panel, score
from training.settings import Settings, save_recipe, set_determinism

AMP_DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Validation images sent to TensorBoard at each validation.
LOGGED_IMAGES = 4


class TrainingStopped(UsageError):
    """The run ended early; the message says why and what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Run:
    """One training run on one rank."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        config, self.device, self.folder = settings.run, device, Path(settings.run.out)
        results.commit()  # cache it now, because the checkout may change during the run
        set_determinism(config, device)
        torch.manual_seed(config.seed)
        train, val = open_split(config, "train"), open_split(config, "val")
        self.settings = resolve_class_weights(settings, train, device)
        self.config = config = self.settings.run
        self.warnings = [*unused_options(config), *report_classes(config, train, val)]
        self.task = Task(train.label_set, preprocess_of(config), segmentation_loss(config))
        self.method: Method = build_method(settings.method, settings.options, self.task)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.method.to(device, memory_format=layout)  # type: ignore[call-overload]
        world = distributed.world_size()
        if config.sync_bn:
            distributed.sync_batch_norm(self.method, device)
        # Synchronized batch norm treats the parts of all ranks as one.
        smallest = -(-self.method.min_batch // (world if config.sync_bn else 1))
        self.plan = BatchPlan(
            len(train), config.batch, config.accumulate, world, config.seed, smallest
        )
        self.total_steps = config.epochs * self.plan.steps
        self.loader, self.sampler = training_loader(
            train, self.plan, config, self.task.preprocess.depth, self.method.views, device
        )
        self.val_loader = scoring_loader(val, config.eval_batch, config.workers, device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.method, config.weight_decay), lr=config.lr, betas=config.betas
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
        self.average = AveragedWeights(self.method, config.ema) if config.ema else None
        #: Optimizer steps done; everything random or scheduled is a function of this number.
        self.step = 0
        #: Epochs completed, including their validation where one is due.
        self.validated = 0
        #: The best validation, and the number of validations since then.
        self.best: dict[str, Any] = {}
        self.stale = 0
        #: Start time of the run, shifted so that interruptions do not count.
        self.began = time.monotonic()
        self.log = RunLog(self.folder, distributed.is_main(), config.tensorboard)
        self.forward = self._wrap()

    @property
    def description(self) -> str:
        """One line: method, network sizes, amount of data, ranks."""
        sizes = ", ".join(
            f"{name} {results.count(student) / 1e6:.2f} M"
            for name, student in self.method.students.items()
        )
        return (
            f"{self.settings.method} ({sizes}), {self.plan.samples} training samples, "
            f"{self.plan.steps} steps per epoch, {distributed.world_size()} ranks"
        )

    # --- Training ----------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        """Train to the end and return the results, which are also in ``results.json``.

        Raises:
            TrainingStopped: the run was interrupted, or a loss is not finite.
            UsageError: there is no checkpoint to resume from, it does not fit this run, or memory
                ran out.
        """
        if self.config.resume:
            self._resume()
        self._sanity_check()
        if distributed.is_main():  # only now, so that a rejected start or resume changes nothing
            save_recipe(self.settings)
        with Interrupt() as interrupt:
            # Start at the epoch of the last step, because its validation may be missing.
            for epoch in range(max(0, self.step - 1) // self.plan.steps, self.config.epochs):
                if self.config.early_stop and self.stale >= self.config.early_stop:
                    self.log.say(
                        f"stopped early after {self.stale} validations without improvement"
                    )
                    break
                self._epoch(epoch, interrupt)
                last = epoch + 1 == self.config.epochs
                due = last or (epoch + 1) % self.config.val_every == 0
                if due and self.validated <= epoch:
                    self._validate(epoch)
                    self._save()
        return self._finish(time.monotonic() - self.began)

    def _epoch(self, epoch: int, interrupt: Interrupt) -> None:
        config, steps = self.config, self.plan.steps
        self.method.train()
        self.sampler.epoch, self.sampler.start = epoch, self.step - epoch * steps
        parts = iter(self.loader)
        clock = Clock()
        # `step` counts over the whole run; after a resume, the sampler skips the completed parts.
        while self.step < (epoch + 1) * steps:
            shares = self.plan.shares(epoch, self.step - epoch * steps)
            raws = [next(parts) for _ in shares]
            clock.loaded()
            losses = self.optimizer_step(raws, shares)
            clock.stepped(sum(len(raw["rgb"]) for raw in raws) * self.plan.world)
            proceed = distributed.all_true([not interrupt.asked], self.device)[0]
            if self.step % config.log_every == 0 or self.step == self.total_steps:
                self._report(epoch, losses, clock)
            if not proceed:
                self._save()
                raise TrainingStopped(
                    f"interrupted, saved at step {self.step}; {self.how_to_resume}", exit_code=130
                )
            if config.checkpoint_every and self.step % config.checkpoint_every == 0:
                self._save()

    def optimizer_step(
        self, raws: list[dict[str, Tensor]], shares: list[float]
    ) -> dict[str, Tensor]:
        """One optimizer step.

        Args:
            raws: this rank's parts of the batch, from the loader.
            shares: weight of each part, see :meth:`BatchPlan.shares`.

        Returns:
            Each loss, averaged over the parts.
        """
        config, mixed = self.config, self.config.amp != "off"
        rate = learning_rate(config, self.step, self.total_steps, self.plan.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Dropout is a function of (seed, step, rank), so a resumed run repeats it.
        torch.manual_seed(((config.seed << 40) + (self.step << 12) + distributed.rank()) % 2**63)
        self.optimizer.zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        measured = bool(config.log_gradients) and self.step % config.log_gradients == 0
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        with out_of_memory(
            f"with batch {config.batch} in {config.accumulate} parts at "
            f"{config.size[0]}×{config.size[1]}: raise accumulate (gives the same result), "
            "lower batch or size, or use amp bf16"
        ):
            for number, (raw, share) in enumerate(zip(raws, shares, strict=True)):
                batch = to_batch(raw, self.task.preprocess, self.device, config.channels_last)
                # Gradients are averaged over the ranks once, on the last part.
                with self._no_sync() if number + 1 < len(raws) else nullcontext():
                    with torch.autocast(self.device.type, AMP_DTYPES[config.amp], enabled=mixed):
                        losses = self.forward(batch)
                    if number == 0 and measured:
                        log_gradients(self.log, self.step, losses, self.method.students)
                    loss = torch.stack([value.float() for value in losses.values()]).sum()
                    self.scaler.scale(loss * share).backward()
                finite &= torch.isfinite(loss.detach())
                for name, value in losses.items():
                    totals[name] = totals.get(name, 0) + value.detach() * share
        if not distributed.all_true([bool(finite)], self.device)[0]:
            raise self._not_finite(raws, totals)
        self.scaler.unscale_(self.optimizer)
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.method.parameters(), config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.method)
        self.step += 1
        return totals

    # --- Scoring -----------------------------------------------------------------------------

    @contextmanager
    def scoring(self) -> Iterator[dict[str, Predictor]]:
        """The students as predictors in eval mode, with averaged weights if ``ema`` is set.

        They run in full precision, so that validation, test and evaluation agree.
        """
        averaged = self.average.applied_to(self.method) if self.average else nullcontext()
        self.method.eval()
        with averaged:
            yield self._predictors(self.method.students)
        self.method.train()

    def _predictors(self, networks: Mapping[str, nn.Module]) -> dict[str, Predictor]:
        protocol = Protocol(native=self.config.native)
        return {
            name: make_predictor(network, name, self.task.preprocess, protocol)
            for name, network in networks.items()
        }

    def _sanity_check(self) -> None:
        """Run a few validation batches, so that errors appear before the first epoch."""
        with self.scoring() as cases:
            self.score(cases, self.val_loader, limit=self.config.sanity_batches)

    def score(
        self, cases: dict[str, Predictor], loader: Any, limit: int | None = None
    ) -> dict[str, ConfusionMatrix]:
        """Confusion matrix of each case, over all ranks."""
        with out_of_memory(f"while scoring: lower eval_batch (now {self.config.eval_batch})"):
            return score(cases, loader, len(self.task.labels), self.device, limit)

    def _validate(self, epoch: int) -> None:
        with self.scoring() as cases:
            matrices = self.score(cases, self.val_loader)
            mious = {name: matrix.miou for name, matrix in matrices.items()}
            mean = float(np.mean(list(mious.values())))
            better = not self.best or mean > self.best["miou_mean"]
            self.validated = epoch + 1
            self.stale = 0 if better else self.stale + 1
            text = "  ".join(f"{name} {value:.4f}" for name, value in mious.items())
            self.log.say(f"epoch {epoch + 1}  val mIoU  {text}{'  (best)' if better else ''}")
            self.log.event("val", step=self.step, epoch=epoch + 1, scalars=mious)
            self._log_images(cases)
            if better:
                self.best = {"miou_mean": mean, "epoch": epoch + 1, "step": self.step}
                students = self.method.students
                results.save_students(
                    self.folder, self.settings, self.task, students, epoch + 1, matrices
                )

    def _log_images(self, cases: dict[str, Predictor]) -> None:
        """Send panels of the first validation samples to TensorBoard."""
        if self.log.wants_images:
            samples: Any = self.val_loader.dataset
            for number in range(min(LOGGED_IMAGES, len(samples))):
                image = panel(samples[number], cases, self.task.labels, self.device)
                self.log.image(f"val/{number}", image, self.step)

    def _finish(self, train_s: float) -> dict[str, Any]:
        """Score the best students on the test split, once, and write ``results.json``."""
        config = self.config
        distributed.barrier()
        test = open_split(config, "test")
        loader = scoring_loader(test, config.eval_batch, config.workers, self.device)
        best = results.load_students(self.folder, list(self.method.students))
        cases = self._predictors({n: net.module.to(self.device) for n, net in best.items()})
        matrices = self.score(cases, loader)
        document = {
            "method": self.settings.method,
            "students": results.save_test_scores(self.folder, best, matrices),
            "best_epoch": self.best["epoch"],
            **results.parameters(self.method),
            "world_size": distributed.world_size(),
            "peak_memory_mb": results.peak_memory_mb(self.device),
            "train_s": round(train_s, 1),
            "steps": self.step,
            "warnings": list(dict.fromkeys((*self.warnings, *notes_of(test)))),
        }
        results.write(self.folder, document)
        self.log.event("end", **document)
        self.log.say(results.summary(document, self.folder))
        self.log.close()
        return document

    # --- State -------------------------------------------------------------------------------

    @property
    def how_to_resume(self) -> str:
        """The command that continues this run."""
        ranks = os.environ.get("LOCAL_WORLD_SIZE", distributed.world_size())
        many = distributed.world_size() > 1
        start = f"torchrun --nproc-per-node {ranks}" if many else "python"
        return (
            f"resume with: {start} -m training.train {self.settings.method} "
            f"--out {shlex.quote(self.config.out)} --resume"
        )

    def _save(self) -> None:
        if distributed.is_main():
            tensors = {"weights": self.method.state_dict()}
            if self.average is not None:
                tensors["averaged"] = self.average.state
            optimizer = {"adamw": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
            state = {
                "settings": self.settings.to_dict(),
                "classes": list(self.task.labels.classes),
                "steps_per_epoch": self.plan.steps,
                "validated": self.validated,
                "best": self.best,
                "stale": self.stale,
                "train_s": time.monotonic() - self.began,
                "average_updates": self.average.updates if self.average else 0,
            }
            checkpoint.save(self.folder, self.step, tensors, optimizer, state)
        distributed.barrier()

    def _resume(self) -> None:
        loaded = checkpoint.load_latest(self.folder)
        if loaded is None:
            raise UsageError(f"cannot resume: {self.folder} has no checkpoint; omit --resume")
        state, contents = loaded
        changes = checkpoint.compare(state, self.settings, self.task.labels, self.plan.steps)
        for line in changes:
            self.log.say(f"resuming with {line}")
        try:
            self.method.load_state_dict(contents["weights"])
        except RuntimeError as error:
            own = [line for line in changes if line.split()[0] in vars(self.settings.options)]
            raise UsageError(
                f"the checkpoint in {self.folder} does not fit the networks "
                f"({', '.join(own) or 'the code has changed'}): undo that or use another --out"
            ) from error
        optimizer = contents["optimizer"]
        # Only AdamW's moments are restored; rate, decay and betas follow the current recipe.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({**optimizer["adamw"], "param_groups": groups})
        if self.scaler.is_enabled() and optimizer["scaler"]:
            self.scaler.load_state_dict(optimizer["scaler"])
        if self.average is not None:
            averaged = contents.get("averaged", contents["weights"])
            self.average.state = {k: v.to(self.device) for k, v in averaged.items()}
            self.average.updates = state["average_updates"]
        self.step, self.validated = state["step"], state["validated"]
        self.best, self.stale = state["best"], state["stale"]
        self.began -= state["train_s"]
        self.log.say(f"resumed at step {self.step} of {self.total_steps}")

    # --- Helpers -----------------------------------------------------------------------------

    def _wrap(self) -> nn.Module:
        forward: nn.Module = self.method
        if distributed.world_size() > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            forward = DistributedDataParallel(forward, device_ids=ids)
        if self.config.compile:
            forward = torch.compile(forward)  # type: ignore[assignment]
        self._no_sync = forward.no_sync if hasattr(forward, "no_sync") else nullcontext
        return forward

    def _report(self, epoch: int, losses: dict[str, Tensor], clock: Clock) -> None:
        means = distributed.mean_scalars({k: float(v) for k, v in losses.items()}, self.device)
        rate = self.optimizer.param_groups[0]["lr"]
        speed, waiting, step_s = clock.read()
        left = self.total_steps - self.step
        line = progress_line(epoch, self.config.epochs, self.step, self.total_steps, means, rate,
                             speed, waiting, left * step_s)  # fmt: skip
        self.log.say(line)
        scalars = {**means, "lr": rate, "samples_per_s": speed, "data_share": waiting}
        self.log.event("train", step=self.step, epoch=epoch + 1, scalars=scalars)

    def _not_finite(
        self, raws: list[dict[str, Tensor]], losses: dict[str, Tensor]
    ) -> TrainingStopped:
        path = self.folder / f"not_finite_step{self.step}_rank{distributed.rank()}.pt"
        values = {name: float(value) for name, value in losses.items()}
        torch.save({"parts": raws, "losses": values, "step": self.step}, path)
        return TrainingStopped(
            f"a loss is not finite at step {self.step}: {values}; the batch was saved to {path}; "
            "lower lr, set clip_norm, or use amp bf16 instead of fp16"
        )
