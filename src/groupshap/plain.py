"""A config as it is written down: in the recipe of a result, in the header of a model file. Imports no torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = ["plain"]

_LATER: dict[str, Any] = {
    "ema_step_offset": 0,
    "timesteps": "stratified",
    "channels_last": False,
    "compile": False,
    "guidance_scale": 1.0,
    "timestep_spacing": "trailing",
    "latent_scale": None,
    "clip_sample": None,
    "unet": None,
    "adapter_rank": 8,
    "base_dtype": "float32",
    "skin_palette_tones": ["light", "mid", "dark"],
}
"""Settings that came after the first results, with defaults that change nothing: of training, sampler, model, data."""

_ABSENT = object()


def plain(config: BaseModel) -> dict[str, Any]:
    """As JSON; later settings at their defaults are left out: older results stay valid, model files their bytes."""
    return {key: value for key, value in config.model_dump(mode="json").items() if _LATER.get(key, _ABSENT) != value}
