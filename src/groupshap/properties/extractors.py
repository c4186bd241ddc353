"""The feature extractors by name: EfficientNet-Lite0 by default, Inception-v3, CLIP and BLIP from files of your own.

Only EfficientNet-Lite0 comes with a package. The others need a path to safetensors (never a pickle), and their settings
say so before anything is computed. Which network belongs to which name is checked in the head of the file, without
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from groupshap.properties.errors import PropertyError
from groupshap.properties.features import EfficientNetFeatures, FeatureExtractor, Forward
from groupshap.store import sha256_of_file

if TYPE_CHECKING:
    import torch

    from groupshap.properties.config import PropertiesConfig

__all__ = [
    "EXTRACTORS",
    "BlipFeatures",
    "ClipFeatures",
    "InceptionFeatures",
    "TorchvisionFeatures",
    "extractor_of",
]


class _SafetensorsFeatures(FeatureExtractor):
    """Weights in a safetensors file, or in a folder that holds ``model.safetensors``, as transformers saves models."""

    marks: ClassVar[Mapping[str, tuple[int | None, ...]]]
    """Tensors by which the file is known, and their shapes; None: any size."""

    def __init__(self, weights: str | Path | None = None, *, batch_size: int = 32, device: str = "cpu") -> None:
        path = None if weights is None else Path(weights)
        file = path / "model.safetensors" if path and path.is_dir() else path
        super().__init__(file, batch_size=batch_size, device=device)

    def problems(self) -> list[str]:
        """See the base class."""
        found = super().problems()
        if found:
            return found
        try:
            shapes = self.shapes(*self.marks)
        except _unreadable() as error:
            return [f"`{self.parameter}`: expected {self.what}, got {type(error).__name__}: {error} in {self.weights}"]
        return [
            f"`{self.parameter}`: expected {self.what}, where {name} has the shape {_words(shape)}, got "
            f"{_words(shapes[name])} in {self.weights}"
            for name, shape in self.marks.items()
            if not _fits(shapes[name], shape)
        ]

    def shapes(self, *names: str) -> dict[str, tuple[int, ...]]:
        """Shapes of tensors in the file, read from its head.

        Raises:
            SafetensorError, OSError: no such file or tensor, or another format.
        """
        from safetensors import safe_open  # noqa: PLC0415 - only where such a file is named

        with safe_open(str(self.weights), framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}

    def load(self) -> Forward:
        """See the base class.

        Raises:
            PropertyError: other weights; names the first that is missing.
        """
        try:
            return self.network()
        except (*_unreadable(), KeyError, ValueError, RuntimeError) as error:
            raise PropertyError(
                f"`{self.parameter}`: expected {self.what}, got {type(error).__name__}: {str(error)[:300]} in "
                f"{self.weights}."
            ) from error

    def network(self) -> Forward:
        """The function, or an error if the weights are something else."""
        raise NotImplementedError


def _unreadable() -> tuple[type[Exception], ...]:
    from safetensors import SafetensorError  # noqa: PLC0415 - only where such a file is named

    return SafetensorError, OSError


def _fits(shape: tuple[int, ...], pattern: tuple[int | None, ...]) -> bool:
    return len(shape) == len(pattern) and all(side in (None, found) for found, side in zip(shape, pattern, strict=True))


def _words(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if side is None else str(side) for side in shape)})"


class InceptionFeatures(_SafetensorsFeatures):
    """2048 features and 1008 logits by Inception-v3 as published FIDs have it: the port of the TensorFlow graph.

    Images are scaled to 299 px bilinearly, without anti-aliasing, as pytorch-fid does it.
    """

    name = "inception"
    parameter = "inception_weights"
    what = (
        "safetensors of Inception-v3 ported from the TensorFlow graph of 2015-12-05, the weights of pytorch-fid, "
        "with 1008 classes"
    )
    marks: ClassVar = {"fc.weight": (1008, 2048), "Mixed_7c.branch1x1.conv.weight": (320, 2048, 1, 1)}

    def network(self) -> Forward:
        """See the base class."""
        from safetensors.torch import load_file  # noqa: PLC0415

        from groupshap.properties.inception import inception_v3  # noqa: PLC0415

        network = inception_v3(load_file(str(self.weights))).to(self.device)
        return lambda batch: network(_scaled_to_inception(batch))


class TorchvisionFeatures(InceptionFeatures):
    """2048 features and 1000 logits by Inception-v3 with torchvision's weights, as the paper's Inception Score."""

    name = "torchvision"
    parameter = "torchvision_weights"
    what = "safetensors of torchvision's Inception-v3 with 1000 classes"
    marks: ClassVar = {"fc.weight": (1000, 2048), "Mixed_7c.branch1x1.conv.weight": (320, 2048, 1, 1)}


def _scaled_to_inception(batch: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import interpolate  # noqa: PLC0415

    from groupshap.properties.inception import IMAGE_SIZE_PX  # noqa: PLC0415

    size = (IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    return interpolate(batch.float() / 255, size=size, mode="bilinear", align_corners=False) * 2 - 1


class _TowerFeatures(_SafetensorsFeatures):
    """A vision transformer; config.json beside the weights, if there is one, says what they do not."""

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        config = Path(self.weights or "").parent / "config.json"
        return {"config_sha256": sha256_of_file(config)} if config.is_file() else {}

    def network(self) -> Forward:
        """See the base class."""
        embed = self.tower()(Path(self.weights or ""), self.device)
        return lambda batch: (embed(batch), None)

    def tower(self) -> Callable[[Path, str], Callable[[torch.Tensor], torch.Tensor]]:
        """Loader of the tower."""
        raise NotImplementedError


class ClipFeatures(_TowerFeatures):
    """CLIP's image embedding, not normalised; the file may hold the text part too.

    Images are scaled to the network's square bicubically; others than squares are distorted, nothing is cut off.
    """

    name = "clip"
    parameter = "clip_weights"
    what = "safetensors of a CLIP model with projection, or its folder as transformers saves it"
    marks: ClassVar = {
        "vision_model.embeddings.patch_embedding.weight": (None, 3, None, None),
        "visual_projection.weight": (None, None),
    }

    def n_features(self) -> int:
        """Dimension of the embedding, from the head of the file."""
        return self.shapes("visual_projection.weight")["visual_projection.weight"][0]

    def tower(self) -> Callable[[Path, str], Callable[[torch.Tensor], torch.Tensor]]:
        """See the base class."""
        from groupshap.properties.vision_transformer import clip_image_tower  # noqa: PLC0415 - imports torch

        return clip_image_tower


class BlipFeatures(_TowerFeatures):
    """The pooled vector of BLIP's image part, such as of BLIP-VQA; not normalised."""

    name = "blip"
    parameter = "blip_weights"
    what = "safetensors of a BLIP model, or its folder as transformers saves it"
    marks: ClassVar = {
        "vision_model.embeddings.patch_embedding.weight": (None, 3, None, None),
        "vision_model.encoder.layers.0.self_attn.qkv.weight": (None, None),
    }

    def tower(self) -> Callable[[Path, str], Callable[[torch.Tensor], torch.Tensor]]:
        """See the base class."""
        from groupshap.properties.vision_transformer import blip_image_tower  # noqa: PLC0415 - imports torch

        return blip_image_tower


EXTRACTORS: dict[str, type[FeatureExtractor]] = {
    cls.name: cls for cls in (EfficientNetFeatures, InceptionFeatures, TorchvisionFeatures, ClipFeatures, BlipFeatures)
}


def extractor_of(name: str, config: PropertiesConfig) -> FeatureExtractor:
    """The extractor of this name with its settings; cheap: nothing is read yet."""
    cls = EXTRACTORS[name]
    weights = getattr(config, cls.parameter)
    how = {"batch_size": config.extractor_batch_size, "device": config.extractor_device}
    if cls is EfficientNetFeatures:
        return EfficientNetFeatures(weights, config.extractor_image_size_px, **how)
    return cls(weights, **how)
