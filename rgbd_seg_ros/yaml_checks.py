# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of YAML documents before their values are constructed: keys, numbers, size."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rgbd_seg_ros.names import shown

#: Largest YAML document, as values plus characters after every alias is replaced by its content.
#: "Billion laughs" documents of a few hundred bytes stand for 10⁹ values.
MAX_YAML_SIZE = 2_000_000
#: Longest number in a JSON or YAML file, in characters. Longer ones are never meant, and reading
#: and printing them takes quadratic time.
MAX_DIGITS = 40
#: A number with an exponent. YAML 1.1 reads only those with a point and a signed exponent.
_EXPONENT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d{1,3}")


def check_yaml(root: Any) -> None:
    """Check keys and numbers of a composed document, and its size without aliases.

    Plain scalars such as ``1e-1``, which are text in YAML 1.1, become numbers.

    Raises:
        ValueError: the document is not acceptable.
    """
    import yaml

    sizes: dict[int, int | None] = {}  # None while the node's children are visited

    def size(node: Any) -> int:
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise ValueError(f"line {node.start_mark.line + 1}: a value contains itself")
            return known
        sizes[id(node)] = None
        total = 1
        if isinstance(node, yaml.ScalarNode):
            plain = node.style is None and node.tag == "tag:yaml.org,2002:str"
            if plain and _EXPONENT.fullmatch(node.value):
                node.tag = "tag:yaml.org,2002:float"
            number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
            if number and len(node.value) > MAX_DIGITS:
                raise ValueError(
                    f"line {node.start_mark.line + 1}: the number {node.value[:MAX_DIGITS]}… has "
                    f"{len(node.value)} digits"
                )
            total += len(node.value)
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node.value)
            total += sum(size(key) + size(value) for key, value in node.value)
        else:
            total += sum(map(size, node.value))
        if total > MAX_YAML_SIZE:
            raise ValueError("it becomes too large when its aliases (*name) are replaced")
        sizes[id(node)] = total
        return total

    size(root)


def _check_keys(entries: Iterable[tuple[Any, Any]]) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in entries:
        if not isinstance(key.value, str) or key.tag == "tag:yaml.org,2002:merge":
            continue
        if (key.tag, key.value) in seen:
            raise ValueError(
                f"line {key.start_mark.line + 1}: the key {shown(key.value)} appears twice"
            )
        seen.add((key.tag, key.value))
