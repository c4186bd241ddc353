"""The parts of a text-to-image pipeline in a folder that diffusers wrote: checked first, then read one by one.

Stable Diffusion 1.x and 2.x, and whatever has the same parts: ``unet``, ``vae``, ``text_encoder``, ``tokenizer``,
``scheduler``. Weights are read from safetensors only; nothing is downloaded.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from groupshap.diffusion.autoencoder_folder import PretrainedError, pickles_in, read_config
from groupshap.errors import UserError

__all__ = [
    "MissingTransformersError",
    "TextEncoder",
    "TextPartsError",
    "Tokens",
    "check_text_parts",
    "n_halvings",
    "read_noise",
    "read_unet",
    "require_transformers",
]

logger = logging.getLogger(__name__)

_CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
_PREDICTIONS = ("epsilon", "v_prediction")
_N_CACHED_PROMPTS = 4096  # a Stable Diffusion 1.x embedding has 236 kB


class TextPartsError(UserError, ValueError):
    """A folder is no text-to-image pipeline that we can use."""


class MissingTransformersError(UserError, ImportError):
    """The package transformers is not installed."""


def require_transformers() -> None:
    """Say which extra is missing.

    Raises:
        MissingTransformersError: it is not installed.
    """
    if find_spec("transformers") is None:
        raise MissingTransformersError('Text-to-image models need transformers: pip install "groupshap[text]"')


def check_text_parts(folder: Path) -> None:
    """Refuse a folder that cannot be used, before anything heavy is read.

    Raises:
        TextPartsError: all that is wrong with it, in one message.
    """
    configs = {name: _config(folder / name) for name in _CLASSES}
    scheduler = _config(folder / "scheduler", "scheduler_config.json")
    problems = [problem for name, config in configs.items() for problem in _network_problems(folder / name, config)]
    if not (folder / "tokenizer").is_dir():
        problems.append("`tokenizer` is missing")
    if scheduler is None:
        problems.append("`scheduler/scheduler_config.json` is missing or no JSON")
    elif scheduler.get("prediction_type", "epsilon") not in _PREDICTIONS:
        problems.append(
            f"its scheduler predicts {scheduler['prediction_type']!r}, not one of {', '.join(_PREDICTIONS)}"
        )
    if not problems:
        problems = _misfits({name: config or {} for name, config in configs.items()})
    if problems:
        raise TextPartsError(
            f"{folder} is no text-to-image pipeline that can be used: {'; '.join(problems)}. Expected a folder as "
            "`StableDiffusionPipeline.save_pretrained` writes it (safe_serialization=True), of Stable Diffusion 1.x or "
            "2.x or a model with the same parts."
        )


def _config(folder: Path, name: str = "config.json") -> dict[str, Any] | None:
    try:
        return read_config(folder, name)
    except PretrainedError:
        return None


def _network_problems(folder: Path, config: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with one network's folder."""
    name, expected = folder.name, _CLASSES[folder.name]
    if config is None:
        return [f"`{name}/config.json` is missing or no JSON"]
    found = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
    problems = [] if found == expected else [f"`{name}` is a {found}, expected a {expected}"]
    if not list(folder.glob("*.safetensors")):
        pickles = pickles_in(folder)
        has = f"only {', '.join(pickles)}: pickles are never read, convert them" if pickles else "no weights"
        problems.append(f"`{name}` has {has} (expected .safetensors)")
    return problems


def _misfits(configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where the networks do not belong together."""
    unet, vae, text = (configs[name] for name in _CLASSES)
    problems = []
    if unet.get("in_channels") != vae.get("latent_channels"):
        problems.append(
            f"`unet` takes {unet.get('in_channels')} channels and `vae` has {vae.get('latent_channels')} (inpainting "
            "and similar models are not supported)"
        )
    if unet.get("cross_attention_dim") != text.get("hidden_size"):
        problems.append(
            f"`unet` expects text embeddings of width {unet.get('cross_attention_dim')}, `text_encoder` gives "
            f"{text.get('hidden_size')}"
        )
    more = [key for key in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type") if unet.get(key)]
    if more:
        problems.append(f"`unet` needs more than a prompt ({', '.join(more)}: SDXL and others are not supported)")
    return problems


def read_noise(folder: Path) -> DDPMScheduler:
    """The noise process; steps of solvers start at the noisiest level ("trailing", Lin et al. 2024)."""
    config = read_config(folder / "scheduler", "scheduler_config.json")
    return DDPMScheduler.from_config(config, clip_sample=False, timestep_spacing="trailing")


def read_unet(folder: Path, dtype: torch.dtype) -> UNet2DConditionModel:
    """A fresh copy of the U-Net, on the CPU, in evaluation mode."""
    return UNet2DConditionModel.from_pretrained(
        folder, subfolder="unet", torch_dtype=dtype, use_safetensors=True, local_files_only=True
    )


def n_halvings(folder: Path) -> int:
    """How often the U-Net halves the side of a latent."""
    return len(read_config(folder / "unet")["block_out_channels"]) - 1


class Tokens:
    """Prompts to token numbers.

    Args:
        tokenizer: A CLIPTokenizer.
        n_tokens: Length of every encoded prompt; start, end and padding included.
    """

    def __init__(self, tokenizer: Any, n_tokens: int) -> None:
        self._tokenizer, self._n_tokens = tokenizer, n_tokens

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """(n, n_tokens) int64; longer prompts are cut, with a WARNING."""
        cut = [
            prompt for prompt in dict.fromkeys(prompts) if len(self._tokenizer.tokenize(prompt)) > self._n_tokens - 2
        ]
        if cut:
            logger.warning("%d prompts are cut to %d tokens, the first: %r", len(cut), self._n_tokens, cut[0])
        found = self._tokenizer(list(prompts), padding="max_length", truncation=True, max_length=self._n_tokens)
        return torch.tensor(found.input_ids, dtype=torch.int64).reshape(len(prompts), self._n_tokens)


class TextEncoder:
    """Token numbers to embeddings; an embedding depends on its own prompt alone, bit for bit.

    Args:
        tokens: Makes token numbers of prompts.
        network: A CLIPTextModel, float32; frozen.
    """

    def __init__(self, tokens: Tokens, network: nn.Module) -> None:
        self.tokens = tokens
        self._network = network.requires_grad_(False).eval()
        self._embeddings: dict[tuple[int, ...], Tensor] = {}

    @classmethod
    def read(cls, folder: Path) -> TextEncoder:
        """From the folders ``tokenizer`` and ``text_encoder``.

        Raises:
            MissingTransformersError: the extra ``text`` is not installed.
        """
        require_transformers()
        from transformers import CLIPTextModel, CLIPTokenizer  # noqa: PLC0415 - heavy, an extra
        from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

        disable_progress_bar()  # workers read the parts again and again
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        network = CLIPTextModel.from_pretrained(
            folder / "text_encoder", dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        n_tokens = min(tokenizer.model_max_length, network.config.max_position_embeddings)
        return cls(Tokens(tokenizer, n_tokens), network)

    def embeddings(self, tokens: Tensor) -> Tensor:
        """(n, n_tokens) int64 to (n, n_tokens, width) float32 on the same device; each prompt is computed once."""
        if is_functorch_wrapped_tensor(tokens):
            return self._known_embeddings(tokens)
        rows = [tuple(row) for row in tokens.tolist()]
        if len(self._embeddings) > _N_CACHED_PROMPTS:
            self._embeddings.clear()
        for row in set(rows) - self._embeddings.keys():
            self._embeddings[row] = self._embedding(row, tokens.device)
        return torch.stack([self._embeddings[row].to(tokens.device) for row in rows])

    def _known_embeddings(self, tokens: Tensor) -> Tensor:
        """The same within vmap (gradients of single images), where numbers cannot be looked at and the network crashes.

        Of prompts that have been embedded before; NaN for others, so that they are noticed.
        """
        rows = torch.tensor(list(self._embeddings), device=tokens.device)
        table = torch.stack([embedding.to(tokens.device) for embedding in self._embeddings.values()])
        matches = (tokens.unsqueeze(1) == rows).all(dim=-1)  # (n, n_known)
        found = table[matches.int().argmax(dim=1)]
        return torch.where(matches.any(dim=1)[:, None, None], found, torch.nan)

    def _embedding(self, row: tuple[int, ...], device: torch.device) -> Tensor:
        """(n_tokens, width) float32; alone in its batch, and usable in training wherever it is first asked for."""
        network = self._network.to(device)
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
            return network(torch.tensor([row], device=device)).last_hidden_state[0]
