"""What a model with prompts is told about each image: a column of the table, or a template filled from its columns."""

from __future__ import annotations

import string

import pandas as pd

from groupshap.grouping.checks import Problem, column_problems, elided, raise_problems
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import GroupedImages

__all__ = ["prompts_of"]


def prompts_of(grouped: GroupedImages, config: DataGroupingConfig) -> list[str] | None:
    """One prompt per image, in the order of the images; None: the configuration asks for none.

    Raises:
        DataProblems: a field or column that the images do not have, or images without a value in it.
    """
    table = grouped.image_table
    if config.prompt_column is not None:
        raise_problems(column_problems({"prompt_column": config.prompt_column}, list(table), _where(config)))
        return _filled(table, "{0}", {"0": config.prompt_column}, config)
    if config.prompt is None:
        return None
    columns = {field: _column(field, grouped) for field in prompt_fields(config.prompt)}
    raise_problems([_unknown(field, table, config) for field, column in columns.items() if column not in table])
    return _filled(table, config.prompt, columns, config)


def prompt_fields(template: str) -> list[str]:
    """The fields that a template names."""
    return [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]


def _column(field: str, grouped: GroupedImages) -> str | None:
    """``label`` is the column of labels, whatever it is called; every other field is a column."""
    if field == "label" and "label" not in grouped.image_table:
        return grouped.label_column
    return field


def _filled(table: pd.DataFrame, template: str, columns: dict[str, str], config: DataGroupingConfig) -> list[str]:
    """The template with the values of each row in it; literal text and values only, nothing is evaluated."""
    used = table[list(columns.values())]
    empty = used.isna().any(axis=1) | (used.astype(str).apply(lambda column: column.str.strip()) == "").any(axis=1)
    raise_problems([_empty(item, list(columns.values()), config) for item in table.loc[empty, "source_item"]])
    parts = list(string.Formatter().parse(template))
    values = {field: table[column].astype(str).tolist() for field, column in columns.items()}
    return [
        "".join(text + (values[field][row] if field is not None else "") for text, field, _, _ in parts)
        for row in range(len(table))
    ]


def _where(config: DataGroupingConfig) -> str:
    return f"source `{config.source}`"


def _unknown(field: str, table: pd.DataFrame, config: DataGroupingConfig) -> Problem:
    known = elided(", ".join(map(str, table)), 300)
    todo = "Name one of them in `data_grouping.prompt`; `label` is the column of labels, if there is one."
    return Problem(_where(config), f"a column for {{{elided(field, 60)}}} (data_grouping.prompt)", known, todo)


def _empty(item: str, columns: list[str], config: DataGroupingConfig) -> Problem:
    todo = "Fill it in, or use another `data_grouping.prompt`."
    return Problem(f"{_where(config)}, {item}", f"a value in {' and '.join(columns)} for its prompt", "none", todo)
