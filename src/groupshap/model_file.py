"""A model as one safetensors file: weights, and a header from which its architecture is rebuilt without pickle.

The header is JSON under a single metadata key: two keys would be written in an order that differs between processes,
and the file's sha256 with it (the fingerprint of everything computed from the model).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from groupshap.diffusion.base import Family, ImageShape, family_of
from groupshap.diffusion.config import ModelConfig
from groupshap.diffusion.frozen import FrozenParts, find_frozen
from groupshap.errors import UserError
from groupshap.plain import plain
from groupshap.pruning.channels import replay_history
from groupshap.pruning.ranks import replay_ranks

__all__ = ["ModelDescription", "ModelFileError", "load_model", "read_description", "save_model"]

_KEY = "groupshap_model"
_REPLAY = {"channels": replay_history, "ranks": replay_ranks}


class ModelFileError(UserError, RuntimeError):
    """A file is not a model of ours."""


@dataclass(frozen=True)
class ModelDescription:
    """What rebuilds an architecture.

    Attributes:
        config: Family, network and noise process.
        image_shape: (channels, height, width).
        pruning_history: What was removed from each layer, see ``pruning.history``, or the ranks that each adapter has
            kept, see ``pruning.ranks``; empty for an unpruned model.
        frozen: Networks beside the denoiser that are never trained; None: none.
    """

    config: ModelConfig
    image_shape: ImageShape
    pruning_history: list[Any] = field(default_factory=list)
    frozen: FrozenParts | None = None

    def family(self) -> Family:
        """The model's family."""
        return family_of(self.config, self.image_shape, self.frozen)

    def initialise(self, seed: int) -> nn.Module:
        """The architecture with random weights; of a pruned one, what pruning leaves of a random initialisation."""
        family = self.family()
        return _REPLAY[family.pruned_by](family.initialise(seed), self.pruning_history)


def save_model(path: Path, model: nn.Module, description: ModelDescription) -> None:
    """Write weights and description; byte-stable. Meant as a writer for :func:`groupshap.store.commit`."""
    header = {
        "config": plain(description.config),
        "image_shape": list(description.image_shape),
        "pruning_history": description.pruning_history,
    }
    header |= {"frozen_sha256": description.frozen.sha256} if description.frozen else {}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, metadata={_KEY: json.dumps(header, sort_keys=True)})


def read_description(path: Path) -> ModelDescription:
    """The description of a stored model, without its weights.

    Raises:
        ModelFileError: no safetensors file, or one without our header.
        FrozenPartsError: the networks beside it are missing or have changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
        config = ModelConfig(**header["config"])
        channels, height, width = header["image_shape"]
        history, frozen_sha256 = header["pruning_history"], header.get("frozen_sha256")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, ValidationError) as error:
        raise ModelFileError(
            f"{path} is no intact model file of this project ({type(error).__name__}: {error}). Delete it and run the "
            "pipeline that makes it again."
        ) from error
    frozen = find_frozen(path, frozen_sha256) if frozen_sha256 else None
    return ModelDescription(config, (channels, height, width), history, frozen)


def load_model(path: Path) -> tuple[nn.Module, ModelDescription]:
    """Rebuild a stored model on the CPU; its outputs equal those of the saved one bit for bit.

    Raises:
        ModelFileError: no intact model file.
    """
    description = read_description(path)
    model = description.initialise(seed=0)
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFileError(f"{path}: weights and description disagree: {error}") from error
    return model, description
