"""Nodes of ``foundation``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from groupshap.campaign.foundation import draw_foundation_samples, make_foundation
from groupshap.campaign.shared import Campaign
from groupshap.diffusion.foundation_config import FoundationConfig
from groupshap.errors import UserError
from groupshap.grouping.config import DataGroupingConfig
from groupshap.image_pack import ImagePack
from groupshap.store import FileRef, Store
from groupshap.tasks.config import DeviceSetting, PropertyEvalConfig, RootSeed

__all__ = ["NoPromptsError", "gather_images_of_others", "make_foundation_model"]


class NoPromptsError(UserError, ValueError):
    """A text-to-image model cannot learn without prompts."""


def gather_images_of_others(config: DataGroupingConfig, cache: Path, contributors: pd.DataFrame) -> ImagePack:
    """The images of the same source whose contributors are none of the run's, with prompts of the same template."""
    from groupshap.grouping.assemble import images_of_others
    from groupshap.grouping.prompts import prompts_of
    from groupshap.grouping.sources import SOURCES

    others = images_of_others(SOURCES[config.source](config, cache), config, contributors["contributor"].tolist())
    prompts = prompts_of(others, config)
    if prompts is None:
        raise NoPromptsError(
            'A foundation model learns from images with prompts: set `data_grouping.prompt`, for example "{label}".'
        )
    return ImagePack(others.images, others.image_table["player"].to_numpy("int64"), prompts=prompts)


def make_foundation_model(
    images: FileRef,
    store: Store,
    folder: Path,
    config: FoundationConfig,
    measuring: PropertyEvalConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> tuple[dict[str, Any], Any]:
    """Train the model, or find it in the store, and write its folder; a report and a picture."""
    campaign = Campaign(images, root_seed.root, device.root)
    report, job = make_foundation(campaign, store, folder, config)
    return report, draw_foundation_samples(job, measuring, config.n_threads, root_seed.root)
