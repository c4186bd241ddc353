"""What a property is, how the configured ones are built, fitted on the reference images and measured.

The driver calls :func:`resolve_properties`, :func:`fit_properties` once on the reference images (all contributors'),
and stores the state. A worker builds the same properties, :func:`restore_properties` and :func:`measure`. No torch is
imported here: a property that needs the network imports it when it first sees images.
"""

from __future__ import annotations

import inspect
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray, check_images
from groupshap.properties.errors import PropertyError
from groupshap.properties.features import FeatureExtractor
from groupshap.store import sha256_of_file

if TYPE_CHECKING:
    import pandas as pd

    from groupshap.properties.config import PropertiesConfig

__all__ = [
    "ENTRY_POINT_GROUP",
    "PROPERTIES",
    "FittedProperty",
    "Property",
    "PropertyError",
    "State",
    "fit_properties",
    "higher_is_better_of",
    "known_names",
    "measure",
    "properties_recipe",
    "resolve_properties",
    "restore_properties",
]

logger = logging.getLogger(__name__)

State: TypeAlias = dict[str, npt.NDArray[Any]]
"""What a property learnt from the reference images: plain arrays, so that they fit into a safetensors file."""

PROPERTIES = {
    "frechet_efficientnet": "groupshap.properties.frechet:FrechetDistance",
    "inception_efficientnet": "groupshap.properties.inception_score:InceptionScore",
    "diversity_entropy": "groupshap.properties.diversity:DiversityEntropy",
    "colourfulness": "groupshap.properties.colourfulness:Colourfulness",
}
"""Built-in property to its class; imported only when used."""

ENTRY_POINT_GROUP = "groupshap.properties"

_NAME = re.compile(r"[a-z0-9_]+")
_RECIPE_FORMAT = 1  # raised whenever a built-in property starts to give other numbers for the same images


class Property(Protocol):
    """One number for a set of generated images.

    Your own needs these three and a constructor without arguments (``parameters``, a JSON-able dict, is optional: what
    else its numbers depend on)::

        class Brightness:
            name = "brightness"
            higher_is_better = True

            def __call__(self, images):
                return images.mean()

    Attributes:
        name: Becomes a column of the tables: lower-case letters, digits and underscores.
        higher_is_better: For reports only; stored values keep their sign.
    """

    name: str
    higher_is_better: bool

    def __call__(self, images: ImageArray) -> float:
        """The value for images (n_images, 1 or 3, height, width), uint8 in [0, 255]; finite; read-only images."""
        ...


class FittedProperty(Property, Protocol):
    """A property that compares with reference images: those of all contributors."""

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> State:
        """Learn from the reference images, uint8 NCHW, and their table (one row per image, same order)."""
        ...

    def restore(self, state: State) -> None:
        """Take what ``fit`` returned, perhaps in another process."""
        ...


# --- building ---------------------------------------------------------------------------------------------------------


def known_names() -> list[str]:
    """Names that need no module: the built-in ones first, then those of installed packages."""
    return [*PROPERTIES, *sorted(_entry_points().keys() - PROPERTIES.keys())]


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def resolve_properties(config: PropertiesConfig) -> list[Property]:
    """Build all configured properties, in order; cheap: neither torch nor weights are loaded.

    Raises:
        PropertyError: everything that is wrong, in one message: modules that cannot be imported, missing classes or
            attributes, bad or repeated names, no weights for the feature extractor.
    """
    extractor = FeatureExtractor(
        config.extractor_weights, config.extractor_image_size_px, batch_size=config.extractor_batch_size
    )
    properties, problems = [], []
    for reference in config.names:
        try:
            properties.append(_build(reference, config, extractor))
        except PropertyError as error:
            problems.append(str(error))
    counts = Counter(one.name for one in properties)
    problems += [f"{count} properties are named '{name}'" for name, count in counts.items() if count > 1]
    if _extractors(properties):
        problems += extractor.problems()
    if problems:
        raise PropertyError("; ".join(problems) + ".")
    return properties


def _build(reference: str, config: PropertiesConfig, extractor: FeatureExtractor) -> Property:
    if reference in PROPERTIES:
        cls = _import_class(PROPERTIES[reference])
        # Ours know the parameters; a class of somebody else must not depend on what they happen to be called.
        return cls.from_config(config, extractor) if hasattr(cls, "from_config") else cls()
    points = _entry_points()
    cls = _import_class(points[reference].value if reference in points else reference)
    try:
        built = cls()
    except TypeError as error:
        raise PropertyError(f"property '{reference}' must be built without arguments: {error}") from error
    problems = list(_shape_problems(built))
    if problems:
        raise PropertyError(f"property '{reference}' needs {', '.join(problems)}")
    return built


def _import_class(reference: str) -> type[Any]:
    module_name, _, class_name = reference.partition(":")
    try:
        module = import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise PropertyError(
            f"property '{reference}': module {module_name} cannot be imported ({type(error).__name__}: {error}); "
            "install it, or put its folder on PYTHONPATH"
        ) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type) and name[0] != "_"]
        raise PropertyError(
            f"property '{reference}': {module_name} has no class {class_name}; it has {', '.join(classes) or 'none'}"
        )
    return found


def _shape_problems(built: Any) -> list[str]:
    name, direction = getattr(built, "name", None), getattr(built, "higher_is_better", None)
    problems = []
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.append(f"`name`, a string of a-z, 0-9 and _ (got {name!r})")
    if not isinstance(direction, bool):
        problems.append(f"`higher_is_better`, True or False (got {direction!r})")
    if not callable(built):
        problems.append("`__call__(images)`, which returns its value")
    if hasattr(built, "fit") != hasattr(built, "restore"):
        problems.append("both `fit` and `restore`, or neither")
    return problems


def _extractors(properties: Sequence[Property]) -> list[FeatureExtractor]:
    """The one shared extractor, once for each property that uses it."""
    found = [getattr(built, "extractor", None) for built in properties]
    return [one for one in found if isinstance(one, FeatureExtractor)]


def higher_is_better_of(config: PropertiesConfig) -> dict[str, bool]:
    """Name of each configured property (the column) to its direction."""
    return {one.name: one.higher_is_better for one in resolve_properties(config)}


def properties_recipe(config: PropertiesConfig) -> dict[str, Any]:
    """Everything besides the images that decides the values, JSON-able: classes, their source, parameters, weights.

    Raises:
        PropertyError: as :func:`resolve_properties`; also for a user's class whose source file cannot be found.
    """
    properties = resolve_properties(config)
    recipe: dict[str, Any] = {
        "format": _RECIPE_FORMAT,
        "properties": {
            built.name: _class_recipe(built, is_ours=reference in PROPERTIES)
            for reference, built in zip(config.names, properties, strict=True)
        },
    }
    extractors = _extractors(properties)
    if extractors:
        recipe["extractor"] = extractors[0].recipe()
    return recipe


def _class_recipe(built: Property, *, is_ours: bool) -> dict[str, Any]:
    cls = type(built)
    recipe = {"class": f"{cls.__module__}:{cls.__qualname__}", "parameters": dict(getattr(built, "parameters", {}))}
    if is_ours:
        return recipe
    try:
        source = inspect.getsourcefile(cls)
    except TypeError:  # a class made in C
        source = None
    if source is None:
        raise PropertyError(
            f"property '{built.name}': {recipe['class']} has no source file to tell its versions apart."
        )
    return recipe | {"source_sha256": sha256_of_file(source)}


# --- using ------------------------------------------------------------------------------------------------------------


def fit_properties(properties: Sequence[Property], images: ImageArray, image_table: pd.DataFrame) -> State:
    """Fit the properties that have a reference, and give back what they learnt.

    Args:
        properties: From :func:`resolve_properties`; they are ready to measure afterwards.
        images: All contributors' images, (n_images, 1 or 3, height, width) uint8 in [0, 255].
        image_table: One row per image, same order.

    Returns:
        Arrays under "<property name>.<key>"; empty if no property has a reference.

    Raises:
        PropertyError: a property cannot be fitted on these images; the message names it.
        ValueError: images of another kind, or a table of another length.
    """
    _check(images)
    if len(image_table) != len(images):
        raise ValueError(f"`image_table` must have one row per image: {len(images)} images, {len(image_table)} rows.")
    state: State = {}
    for built in properties:
        if hasattr(built, "fit"):
            state |= {f"{built.name}.{key}": value for key, value in built.fit(_read_only(images), image_table).items()}
    restore_properties(properties, state)
    for built in properties:
        if hasattr(built, "describe"):
            logger.info("%s: %s.", built.name, built.describe())
    return state


def restore_properties(properties: Sequence[Property], state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give every fitted property its part of what :func:`fit_properties` returned.

    Raises:
        PropertyError: the state has nothing for a property that needs it.
    """
    for built in properties:
        if not hasattr(built, "restore"):
            continue
        prefix = f"{built.name}."
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if not own:
            names = sorted({key.partition(".")[0] for key in state})
            raise PropertyError(f"property '{built.name}' was not fitted: the state holds {names or 'nothing'}.")
        built.restore(own)


def measure(properties: Sequence[Property], images: ImageArray) -> dict[str, float]:
    """Measure all properties on the same images, (n_images, 1 or 3, height, width) uint8 in [0, 255].

    Raises:
        PropertyError: a value is not a finite real number; the message names the property and the value.
        ValueError: images of another kind.
    """
    _check(images)
    return {built.name: _value(built, _read_only(images)) for built in properties}


def _check(images: ImageArray) -> None:
    check_images(images)
    if len(images) == 0:
        raise ValueError("`images` must hold at least one image, got none.")


def _read_only(images: ImageArray) -> ImageArray:
    """The same memory, but a property that changes the images fails instead of spoiling the next one's."""
    view = images.view()
    view.flags.writeable = False
    return view


def _value(built: Property, images: ImageArray) -> float:
    value = built(images)
    # numpy's scalars are Real, arrays and tensors are not; True would pass as 1.
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_) or not math.isfinite(value):
        raise PropertyError(
            f"property '{built.name}' gave {value!r} ({type(value).__name__}) for images of shape {images.shape}; "
            "expected one finite real number."
        )
    return float(value)
