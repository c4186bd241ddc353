from __future__ import annotations

import pandas as pd
import pytest
from toy_tables import contributor_table, utilities_table


@pytest.fixture
def contributors() -> pd.DataFrame:
    return contributor_table()


@pytest.fixture
def utilities() -> pd.DataFrame:
    return utilities_table()
