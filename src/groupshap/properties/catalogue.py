"""Names of the built-in properties. A name says what is measured and on the features of which network.

``frechet_clip`` is the Fréchet distance on features of CLIP. The names of the literature, ``fid``, ``kid`` and
``inception_score``, are kept for the features of Inception-v3 with the weights that the literature used.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PROPERTIES", "SHARE_OF", "BuiltIn", "built_in", "known_words"]

EXTRACTOR_NAMES = ("efficientnet", "inception", "torchvision", "clip", "blip")
"""Keys of ``extractors.EXTRACTORS``, here without importing anything."""

_MODULE = "groupshap.properties"

_ON_FEATURES = {
    "frechet": "frechet:FrechetDistance",
    "kernel_distance": "kernel_distance:KernelDistance",
    "precision": "neighbours:Precision",
    "recall": "neighbours:Recall",
    "density": "neighbours:Density",
    "coverage": "neighbours:Coverage",
    "vendi": "vendi:VendiScore",
    "cluster_entropy": "clusters:ClusterEntropy",
}
"""Measured on the features of any extractor, whose name follows."""

_OF_THE_LITERATURE = {
    "fid": "frechet:FrechetInceptionDistance",
    "kid": "kernel_distance:KernelDistance",
    "inception_score": "inception_score:InceptionScore",
}

SHARE_OF = "share_of_"
"""Start of the names of shares; the rest is the label, in lower case, with _ for what is no letter or digit."""


@dataclass(frozen=True)
class BuiltIn:
    """How a built-in property is made.

    Attributes:
        cls: "module:Class", imported only when used.
        extractor: Name of the network on whose features it is measured; None: the class knows what it needs.
    """

    cls: str
    extractor: str | None = None


PROPERTIES: dict[str, BuiltIn] = {
    "frechet_efficientnet": BuiltIn(f"{_MODULE}.frechet:FrechetDistance", "efficientnet"),
    "inception_efficientnet": BuiltIn(f"{_MODULE}.inception_score:InceptionScore", "efficientnet"),
    "diversity_entropy": BuiltIn(f"{_MODULE}.diversity:DiversityEntropy", "efficientnet"),
    "colourfulness": BuiltIn(f"{_MODULE}.colourfulness:Colourfulness"),
    "colourfulness_quantile": BuiltIn(f"{_MODULE}.colourfulness:ColourfulnessQuantile"),
    "parity_gap": BuiltIn(f"{_MODULE}.groups:ParityGap"),
    "aesthetic_clip": BuiltIn(f"{_MODULE}.aesthetic:Aesthetic", "clip"),
    "aesthetic_quantile_clip": BuiltIn(f"{_MODULE}.aesthetic:AestheticQuantile", "clip"),
    "prompt_fidelity": BuiltIn(f"{_MODULE}.prompt_fidelity:PromptFidelity", "efficientnet"),
    "prompt_score_clip": BuiltIn(f"{_MODULE}.prompt_score:PromptScore", "clip"),
    **{name: BuiltIn(f"{_MODULE}.{cls}", "inception") for name, cls in _OF_THE_LITERATURE.items()},
    "inception_torchvision": BuiltIn(f"{_MODULE}.inception_score:InceptionScore", "torchvision"),
    **{
        f"{metric}_{extractor}": BuiltIn(f"{_MODULE}.{cls}", extractor)
        for metric, cls in _ON_FEATURES.items()
        for extractor in EXTRACTOR_NAMES
        if (metric, extractor) != ("kernel_distance", "inception")  # that is kid
    },
}
"""Every built-in property but shares of labels, whose names depend on the data."""


def built_in(name: str) -> BuiltIn | None:
    """How the property of this name is made; None: it is not ours."""
    if name.startswith(SHARE_OF) and len(name) > len(SHARE_OF):
        return BuiltIn(f"{_MODULE}.groups:GroupShare")
    return PROPERTIES.get(name)


def known_words() -> str:
    """All names, for a message."""
    on_features = {f"{metric}_{extractor}" for metric in _ON_FEATURES for extractor in EXTRACTOR_NAMES}
    plain = [name for name in PROPERTIES if name not in on_features]
    return (
        f"{', '.join(f'{metric}_*' for metric in _ON_FEATURES)} with * one of {', '.join(EXTRACTOR_NAMES)}; "
        f"{', '.join(plain)}; {SHARE_OF}* with a label"
    )
