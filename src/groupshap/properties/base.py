"""What a property is, how the configured ones are built, fitted on the reference images and measured.

The driver calls :func:`resolve_properties`, :func:`fit_properties` once on the reference images (all contributors', or
those of a folder), and stores the state. A worker builds the same properties, :func:`restore_properties` and
:func:`measure`. No torch is imported here: a property that needs the network imports it when it first sees images.
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
from groupshap.properties.catalogue import PROPERTIES, built_in, known_words
from groupshap.properties.errors import PropertyError
from groupshap.properties.features import FeatureExtractor
from groupshap.properties.groups import LabelClassifier
from groupshap.properties.reference import ReferenceFeatures, folder_sha256, image_files
from groupshap.properties.request import Request, Shared
from groupshap.properties.requirements import count_problems
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
    "is_known",
    "known_names",
    "measure",
    "properties_recipe",
    "resolve_properties",
    "restore_properties",
]

logger = logging.getLogger(__name__)

State: TypeAlias = dict[str, npt.NDArray[Any]]
"""What a property learnt from the reference images: plain arrays, so that they fit into a safetensors file."""

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

    With ``needs_prompts = True`` it is called with the images and their prompts, one text each, where the model has
    any. With ``n_images_needed``, an int, fewer generated images are refused before anything is computed.

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


def is_known(name: str) -> bool:
    """Whether a name needs no module: it is built in, or that of an installed package."""
    return built_in(name) is not None or name in _entry_points()


def known_names() -> str:
    """Names that need no module, for a message: the built-in ones first, then those of installed packages."""
    return "; ".join([known_words(), *sorted(_entry_points().keys() - PROPERTIES.keys())])


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def resolve_properties(config: PropertiesConfig) -> list[Property]:
    """Build all configured properties, in order; cheap: neither torch nor weights are loaded.

    Raises:
        PropertyError: everything that is wrong, in one message: modules that cannot be imported, missing classes or
            attributes, bad or repeated names, no weights for a feature extractor.
    """
    shared = Shared(config)
    properties, problems = [], []
    for reference in config.names:
        try:
            built = _build(reference, config, shared)
        except PropertyError as error:
            problems.append(str(error))
        else:
            properties.append(built)
            problems += built.problems() if built_in(reference) and hasattr(built, "problems") else []
    counts = Counter(one.name for one in properties)
    problems += [f"{count} properties are named '{name}'" for name, count in counts.items() if count > 1]
    for extractor in _extractors(properties):
        problems += extractor.problems()
    problems += _folder_problems(config, properties)
    if problems:
        raise PropertyError("; ".join(problems) + ".")
    return properties


def _folder_problems(config: PropertiesConfig, properties: Sequence[Property]) -> list[str]:
    folder = config.reference_folder
    if folder is None or not any(_compares(built) for built in properties) or image_files(folder):
        return []
    return [f"`reference_folder`: expected a folder with images, but there are none at {folder}"]


def _compares(built: Any) -> bool:
    """Whether it compares with reference images that a folder may hold; ones that learn labels need the table too."""
    return getattr(built, "compares_with_reference", False) is True


def _build(reference: str, config: PropertiesConfig, shared: Shared) -> Property:
    ours = built_in(reference)
    if ours is not None:
        cls = _import_class(ours.cls)
        # Ours know the parameters; a class of somebody else must not depend on what they happen to be called.
        request = Request(reference, config, shared, ours.extractor)
        return cls.from_request(request) if hasattr(cls, "from_request") else cls()
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
    """The shared extractors that are used, each once."""
    found = [getattr(built, "extractor", None) for built in properties]
    return list({one.name: one for one in found if isinstance(one, FeatureExtractor)}.values())


def _parts(properties: Sequence[Property]) -> list[Any]:
    """What several of our properties share and what is fitted before them, each once."""
    parts = [part for built in properties for part in getattr(built, "parts", ())]
    return list({part.name: part for part in parts if isinstance(part, ReferenceFeatures | LabelClassifier)}.values())


# --- describing -------------------------------------------------------------------------------------------------------


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
            built.name: _class_recipe(built, is_ours=built_in(reference) is not None)
            for reference, built in zip(config.names, properties, strict=True)
        },
    }
    extractors = {one.name: one.recipe() for one in _extractors(properties)}
    # The first one that there was has kept its place, so that older results stay valid.
    recipe |= {"extractor": extractors.pop("efficientnet")} if "efficientnet" in extractors else {}
    recipe |= {"extractors": extractors} if extractors else {}
    if config.reference_folder is not None and any(_compares(built) for built in properties):
        recipe["reference_folder_sha256"] = folder_sha256(config.reference_folder)
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


def fit_properties(
    properties: Sequence[Property], images: ImageArray, image_table: pd.DataFrame, reference: ImageArray | None = None
) -> State:
    """Fit the properties that have a reference, and give back what they learnt.

    Args:
        properties: From :func:`resolve_properties`; they are ready to measure afterwards.
        images: All contributors' images, (n_images, 1 or 3, height, width) uint8 in [0, 255].
        image_table: One row per image, same order.
        reference: Images, of the same kind, with which those properties compare that can use a folder's; None: the
            contributors'.

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
    for built in [*_parts(properties), *properties]:
        if hasattr(built, "fit"):
            own = images if reference is None or not _compares(built) else reference
            fitted = built.fit(_read_only(own), image_table)
            # safetensors writes the memory of an array as it lies there: a transposed one would come back scrambled.
            state |= {f"{built.name}.{key}": np.asarray(value, order="C") for key, value in fitted.items()}
            restore_properties([built], state)
    for built in properties:
        if hasattr(built, "describe"):
            logger.info("%s: %s.", built.name, built.describe())
    return state


def restore_properties(properties: Sequence[Property], state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give every fitted property its part of what :func:`fit_properties` returned.

    Raises:
        PropertyError: the state has nothing for a property that needs it.
    """
    for built in [*_parts(properties), *properties]:
        if not hasattr(built, "restore"):
            continue
        prefix = f"{built.name}."
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if not own:
            names = sorted({key.partition(".")[0] for key in state})
            raise PropertyError(f"property '{built.name}' was not fitted: the state holds {names or 'nothing'}.")
        built.restore(own)


def measure(
    properties: Sequence[Property], images: ImageArray, prompts: Sequence[str] | None = None
) -> dict[str, float]:
    """Measure all properties on the same images.

    Args:
        properties: Fitted or restored.
        images: (n_images, 1 or 3, height, width) uint8 in [0, 255].
        prompts: What each image was generated for; None: nothing was.

    Raises:
        PropertyError: too few images or no prompts for a property, or a value is not a finite real number; the message
            names the property.
        ValueError: images of another kind.
    """
    _check(images)
    problems = count_problems(properties, len(images), has_prompts=prompts is not None)
    if problems:
        raise PropertyError("; ".join(problems) + ".")
    return {built.name: _value(built, _read_only(images), prompts) for built in properties}


def _check(images: ImageArray) -> None:
    check_images(images)
    if len(images) == 0:
        raise ValueError("`images` must hold at least one image, got none.")


def _read_only(images: ImageArray) -> ImageArray:
    """The same memory, but a property that changes the images fails instead of spoiling the next one's."""
    view = images.view()
    view.flags.writeable = False
    return view


def _value(built: Any, images: ImageArray, prompts: Sequence[str] | None) -> float:
    value = built(images, prompts) if getattr(built, "needs_prompts", False) else built(images)
    # numpy's scalars are Real, arrays and tensors are not; True would pass as 1.
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_) or not math.isfinite(value):
        raise PropertyError(
            f"property '{built.name}' gave {value!r} ({type(value).__name__}) for images of shape {images.shape}; "
            "expected one finite real number."
        )
    return float(value)
