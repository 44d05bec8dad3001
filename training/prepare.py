# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.prepare`: official data-set files into one checked layout, and its card."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from training.config import run_command
from training.data.prepare import DATASETS, source_class
from training.options import UsageError, add_options, fill, lookup, parse_flags

PROG = "python -m training.prepare"
USAGE = f"""\
usage: {PROG} DATASET --source DIR --out DIR [--key value ...]
       {PROG} check DIR [--json]

DATASET is one of: {", ".join(DATASETS)}
Options of a data set: {PROG} DATASET --help; formats and pages: docs/data.md
"""


def main(argv: list[str] | None = None) -> int:
    """Parse, prepare or check; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "check":
        return check(argv[1:])
    lookup("data set", argv[0], {**DATASETS, "check": None})
    return prepare(argv[0], argv[1:])


def prepare(name: str, argv: list[str]) -> int:
    """One data set into the layout."""
    from training.data.prepare import write

    cls = source_class(name)
    options_class = cls.Options
    parser = argparse.ArgumentParser(
        prog=f"{PROG} {name}", allow_abbrev=False, description=f"{cls.__doc__} From {cls.page}."
    )
    add_options(parser, f"options of {name}", options_class)
    add_options(parser, "options of every data set", write.Common)
    flags = parse_flags(parser, argv)
    common, options = fill(write.Common, flags), fill(options_class, flags)
    for key in ("source", "out"):
        if not getattr(common, key):
            raise UsageError(f"--{key} is missing; get the files of {cls.page}")
    import cv2

    # OpenCV warns of every GeoTIFF tag, and tells in four lines what our error says in one.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    source = cls(Path(common.source), options, common.partial)
    write.prepare(source, {k: list(v) if isinstance(v, tuple) else v for k, v in
                           vars(options).items()}, common)  # fmt: skip
    return 0


def check(argv: list[str]) -> int:
    """The data card; 1 if a file is missing, changed or wrong."""
    parser = argparse.ArgumentParser(
        prog=f"{PROG} check", allow_abbrev=False, description="Check a prepared folder, print its "
        "data card and draw twelve of its frames.",
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="DIR", help="a prepared folder")
    parser.add_argument("--json", action="store_true", help="print the card as JSON on stdout")
    parser.add_argument(
        "--pictures", type=Path, metavar="FILE", help="PNG to draw (default DIR/card.png)"
    )
    args = parse_flags(parser, argv)
    from training.data.prepare import card

    found = card.check(args["folder"], args["pictures"])
    if args["json"]:
        print(json.dumps(found, ensure_ascii=False))
    print(card.to_text(found), file=sys.stderr if args["json"] else sys.stdout)
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
