# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Mitsuba 3 with its LLVM variant: imported, configured and checked with clear errors."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from training.options import UsageError

VARIANT = "llvm_ad_rgb"
INSTALL = "pip install mitsuba trimesh pyoidn (or pip install -e '.[render]')"
#: Names of LLVM libraries that Dr.Jit works with; Debian's LLVM 14 aborts the process.
LLVM = tuple(
    name for v in (19, 18, 20) for name in (f"libLLVM-{v}.so", f"libLLVM.so.{v}.1")
)  # fmt: skip
LLVM_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
)


def find_llvm() -> Path:
    """The shared library of LLVM, from ``DRJIT_LIBLLVM_PATH`` or from the usual folders.

    Raises:
        UsageError: the file that the variable names is missing, or there is no usable version.
    """
    remedy = "install the Debian or Ubuntu package libllvm19, or set DRJIT_LIBLLVM_PATH to its .so"
    if chosen := os.environ.get("DRJIT_LIBLLVM_PATH"):
        if not Path(chosen).is_file():
            raise UsageError(f"DRJIT_LIBLLVM_PATH is {chosen}, which is not a file: {remedy}")
        return Path(chosen)
    for name in LLVM:
        for folder in LLVM_FOLDERS:
            if (path := Path(folder) / name).is_file():
                return path
    raise UsageError(f"the path tracer needs LLVM 18, 19 or 20: {remedy}")


@cache
def mitsuba(threads: int = 0) -> Any:
    """The ``mitsuba`` module with its LLVM variant.

    Args:
        threads: threads that render; 0 for one per core.

    Raises:
        ImportError: Mitsuba is not installed.
        UsageError: it finds no LLVM that works.
    """
    path = find_llvm()
    os.environ["DRJIT_LIBLLVM_PATH"] = str(path)
    os.environ.setdefault("OIDN_NUM_THREADS", str(threads or os.cpu_count() or 1))
    try:
        import drjit as dr
        import mitsuba as mi
    except ImportError as error:
        raise ImportError(f"the path tracer needs Mitsuba 3: {INSTALL}") from error
    try:
        mi.set_variant(VARIANT)
        dr.eval(mi.Float([1.0, 2.0]) + 1)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(
            f"Mitsuba cannot use LLVM {path} ({reason}): install libllvm19 or set "
            "DRJIT_LIBLLVM_PATH"
        ) from error
    if threads:
        dr.set_thread_count(threads)
    mi.set_log_level(mi.LogLevel.Error)
    return mi


def check_mitsuba() -> None:
    """Try Mitsuba in a process of its own, because some versions of LLVM abort theirs.

    Raises:
        ImportError: Mitsuba is not installed.
        UsageError: it finds no LLVM that works.
    """
    import subprocess
    import sys
    from importlib.util import find_spec

    if find_spec("mitsuba") is None:
        raise ImportError(f"the path tracer needs Mitsuba 3: {INSTALL}")
    path = find_llvm()
    code = (  # an addition works even with versions that abort while they render
        "import mitsuba as mi, drjit as dr\n"
        f"mi.set_variant({VARIANT!r})\n"
        "scene = mi.cornell_box()\n"
        "scene['sensor']['film'].update(width=4, height=4)\n"
        "dr.eval(mi.render(mi.load_dict(scene), spp=1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "DRJIT_LIBLLVM_PATH": str(path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UsageError(
            f"Mitsuba cannot use LLVM {path} ({lines[-1].strip()[:160]}): install the Debian or "
            "Ubuntu package libllvm19, or set DRJIT_LIBLLVM_PATH to its .so"
        )
