"""The embedding that a parameter names."""

from __future__ import annotations

from importlib import import_module

from groupshap.baselines.similarity import Embedding
from groupshap.errors import UserError
from groupshap.properties.config import PropertiesConfig
from groupshap.properties.features import FeatureExtractor

__all__ = ["EmbeddingNotAvailableError", "resolve_embedding"]


class EmbeddingNotAvailableError(UserError, ValueError):
    """An embedding cannot be built; the message says what is missing."""


def resolve_embedding(name: str, clip_weights: str | None, properties: PropertiesConfig) -> Embedding:
    """Function from images to vectors.

    Args:
        name: ``efficientnet``, ``clip`` or "package.module:function" of your own; a class is built without arguments.
        clip_weights: Path, for ``clip``.
        properties: Settings of the EfficientNet-Lite0 features, so that they are those of the properties.

    Raises:
        EmbeddingNotAvailableError: no weights, or no such function.
    """
    if name == "efficientnet":
        extractor = FeatureExtractor(
            properties.extractor_weights,
            properties.extractor_image_size_px,
            batch_size=properties.extractor_batch_size,
        )
        if problems := extractor.problems():
            raise EmbeddingNotAvailableError("; ".join(problems) + ".")
        return lambda images: extractor(images).features
    if name == "clip":
        if clip_weights is None:
            raise EmbeddingNotAvailableError("no CLIP weights are given: set `baselines.clip_weights` to a file.")
        from groupshap.baselines.clip import ClipEmbedding  # noqa: PLC0415 - only where it is used

        return ClipEmbedding(clip_weights)
    return _own(name)


def _own(reference: str) -> Embedding:
    module_name, _, attribute = reference.partition(":")
    try:
        found = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise EmbeddingNotAvailableError(
            f"`baselines.embedding` is {reference!r}: expected efficientnet, clip or 'package.module:function' that "
            f"can be imported, got {type(error).__name__}: {error}."
        ) from error
    return found() if isinstance(found, type) else found
