# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.prepare`: converts official datasets into one layout and checks it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from training.command import run_command
from training.data.prepare import RAW_DATASETS, raw_dataset_class
from training.options import UsageError, add_options, fill, lookup, parse_flags

PROG = "python -m training.prepare"
USAGE = f"""\
usage: {PROG} DATASET --source DIR --out DIR [--key value ...]
       {PROG} rooms --frames N --size H,W --out DIR [--key value ...]
       {PROG} furniture [--source DIR] [--json]
       {PROG} check DIR [--image FILE] [--json]

DATASET is one of: {", ".join(RAW_DATASETS)}
Options of a dataset: {PROG} DATASET --help. Source files and official pages: docs/data.md
"""


def main(argv: list[str] | None = None) -> int:
    """Prepare or check a dataset; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "check":
        return check(argv[1:])
    if argv[0] == "furniture":
        return furniture(argv[1:])
    lookup("dataset", argv[0], {**RAW_DATASETS, "check": None, "furniture": None})
    return prepare(argv[0], argv[1:])


def prepare(name: str, argv: list[str]) -> int:
    """Convert one dataset into the prepared layout."""
    from training.data.prepare import write

    cls = raw_dataset_class(name)
    parser = argparse.ArgumentParser(
        prog=f"{PROG} {name}", allow_abbrev=False, description=f"{cls.__doc__} See {cls.page}."
    )
    add_options(parser, f"options of {name}", cls.options_class)
    add_options(parser, "options of every dataset", write.PrepareOptions)
    flags = parse_flags(parser, argv)
    common, options = fill(write.PrepareOptions, flags), fill(cls.options_class, flags)
    for key in ("source", "out") if cls.needs_source else ("out",):
        if not getattr(common, key):
            raise UsageError(f"--{key} is missing; see {cls.page}")
    import cv2

    # OpenCV warns about every GeoTIFF tag, and about defects that our own errors report.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    dataset = cls(Path(common.source), options, common.partial)
    chosen = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(options).items()}
    write.prepare(dataset, chosen, common)
    return 0


def check(argv: list[str]) -> int:
    """Print the data card; returns 1 if a file is missing, changed or wrong."""
    parser = argparse.ArgumentParser(
        prog=f"{PROG} check",
        allow_abbrev=False,
        description="Check a prepared dataset, print its data card and draw twelve frames.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of a prepared dataset")
    parser.add_argument("--json", action="store_true", help="print the card as JSON on stdout")
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="PNG for the frames (default DIR/card.png)"
    )
    args = parse_flags(parser, argv)
    from training.data.prepare import card

    found = card.check(args["folder"], args["image"])
    if args["json"]:
        print(json.dumps(found, ensure_ascii=False))
    print(card.to_text(found), file=sys.stderr if args["json"] else sys.stdout)
    return 1 if found["problems"] else 0


def furniture(argv: list[str]) -> int:
    """Print every model of the furniture catalog that rooms may contain."""
    parser = argparse.ArgumentParser(
        prog=f"{PROG} furniture",
        allow_abbrev=False,
        description="List the models of the furniture catalog with class, size, author and "
        "license.",
    )
    parser.add_argument("--source", default="", metavar="DIR", help="folder of the catalog")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    args = parse_flags(parser, argv)
    from training.data.rooms.catalog import credits_text, find_catalog, listing

    catalog = find_catalog(args["source"], required=True)
    assert catalog is not None
    for note in catalog.notes:
        print(note, file=sys.stderr)
    if args["json"]:
        print(json.dumps(listing(catalog), ensure_ascii=False))
    else:
        print(credits_text(catalog))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
