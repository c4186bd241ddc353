"""What a built-in property is built from: its name, the parameters, and what it shares with other properties."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from groupshap.properties.extractors import extractor_of
from groupshap.properties.features import FeatureExtractor
from groupshap.properties.groups import LabelClassifier
from groupshap.properties.reference import ReferenceFeatures

if TYPE_CHECKING:
    from groupshap.properties.config import PropertiesConfig

__all__ = ["Request", "Shared"]


@dataclass
class Shared:
    """One extractor and one reference for each network, however many properties use them; nothing is loaded yet."""

    config: PropertiesConfig
    extractors: dict[str, FeatureExtractor] = field(default_factory=dict)
    references: dict[str, ReferenceFeatures] = field(default_factory=dict)
    classifiers: list[LabelClassifier] = field(default_factory=list)

    def extractor(self, name: str) -> FeatureExtractor:
        """The extractor of this name."""
        if name not in self.extractors:
            self.extractors[name] = extractor_of(name, self.config)
        return self.extractors[name]

    def reference(self, name: str) -> ReferenceFeatures:
        """The reference's features by the extractor of this name."""
        if name not in self.references:
            limit = self.config.n_reference_images_at_most
            self.references[name] = ReferenceFeatures(self.extractor(name), limit, self.config.seed)
        return self.references[name]

    def label_classifier(self) -> LabelClassifier:
        """The classifier of groups."""
        if not self.classifiers:
            config = self.config
            extractor = None if config.group_embedding == "colours" else self.extractor(config.group_embedding)
            self.classifiers.append(
                LabelClassifier(extractor, config.group_label_column, config.group_classifier, config.seed)
            )
        return self.classifiers[0]


@dataclass(frozen=True)
class Request:
    """A built-in property is wanted.

    Attributes:
        name: As in the parameters.
        config: All parameters of the properties.
        shared: What properties share.
        extractor_name: The network on whose features it is measured; None: not on features.
    """

    name: str
    config: PropertiesConfig
    shared: Shared
    extractor_name: str | None = None

    @property
    def extractor(self) -> FeatureExtractor:
        """The network on whose features it is measured."""
        return self.shared.extractor(self._extractor_name)

    @property
    def reference(self) -> ReferenceFeatures:
        """The reference's features by the same network."""
        return self.shared.reference(self._extractor_name)

    @property
    def _extractor_name(self) -> str:
        if self.extractor_name is None:
            raise RuntimeError(f"'{self.name}' is not measured on features.")
        return self.extractor_name
