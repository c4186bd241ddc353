"""The embedding that a parameter names."""

from __future__ import annotations

from importlib import import_module

from groupshap.baselines.similarity import Embedding
from groupshap.errors import UserError
from groupshap.properties.config import PropertiesConfig
from groupshap.properties.extractors import ClipFeatures, extractor_of
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
        return _features(extractor_of("efficientnet", properties))
    if name == "clip":
        if clip_weights is None:
            raise EmbeddingNotAvailableError("no CLIP weights are given: set `baselines.clip_weights` to a file.")
        return _features(ClipFeatures(clip_weights))
    return _own(name)


def _features(extractor: FeatureExtractor) -> Embedding:
    if problems := extractor.problems():
        raise EmbeddingNotAvailableError("; ".join(problems) + ".")
    return lambda images: extractor(images).features


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
