"""The images of a folder, brought to the size and channels of the contributors' images."""

from __future__ import annotations

from groupshap.grouping.checks import decode_images, raise_problems
from groupshap.grouping.config import DataGroupingConfig
from groupshap.images import ImageArray
from groupshap.properties.config import PropertiesConfig
from groupshap.properties.reference import image_files

__all__ = ["reference_images"]


def reference_images(config: PropertiesConfig, images: ImageArray) -> ImageArray | None:
    """Images with which properties compare, uint8 like ``images`` (NCHW), in order of their files; None: these.

    Sides that differ lose their ends, and the rest of what happens to files is that of ``data_grouping``.

    Raises:
        DataProblems: files that cannot be used, all of them.
    """
    if config.reference_folder is None:
        return None
    like = DataGroupingConfig(image_size=images.shape[-1], channels=images.shape[1])
    decoded, problems = decode_images([(str(file), file) for file in image_files(config.reference_folder)], like)
    raise_problems(problems)
    return decoded
