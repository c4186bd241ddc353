"""The closed list of sources: ``SOURCES[config.source](config, cache)`` returns :class:`SourceData`.

A source decodes and sizes its images, checks its own input, and raises :class:`~groupshap.grouping.checks.DataProblems`
with everything that is wrong. ``cache`` is a folder it may write to; whatever lies there can be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import SourceData
from groupshap.grouping.sources.avatars import load_avatars
from groupshap.grouping.sources.cifar100 import load_cifar100
from groupshap.grouping.sources.digits import load_digits
from groupshap.grouping.sources.emoji import load_emoji
from groupshap.grouping.sources.fashion_mnist import load_fashion_mnist
from groupshap.grouping.sources.huggingface import load_huggingface
from groupshap.grouping.sources.image_folder import load_image_folder
from groupshap.grouping.sources.table import load_table

__all__ = ["SOURCES", "Source"]

Source: TypeAlias = Callable[[DataGroupingConfig, Path], SourceData]

SOURCES: dict[str, Source] = {
    "avatars": load_avatars,
    "cifar100": load_cifar100,
    "digits": load_digits,
    "emoji": load_emoji,
    "fashion_mnist": load_fashion_mnist,
    "huggingface": load_huggingface,
    "image_folder": load_image_folder,
    "table": load_table,
}
