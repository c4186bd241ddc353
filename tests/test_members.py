from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupshap.members import join_members, short_name, split_members

names = st.lists(st.text(alphabet=st.sampled_from("a|\\ \n,\"'é名") | st.characters(), min_size=1), max_size=5)


@given(names)
def test_split_undoes_join_for_every_name(members):
    assert split_members(join_members(members)) == members


def test_the_format_is_the_documented_one():
    assert join_members(["NA", "a|b", "x \\ y", " "]) == r"NA | a\|b | x \\ y |  "
    assert join_members([]) == ""


@pytest.mark.parametrize("cell", ["a|b", "a | ", " | a", "a\\", "a\\n"])
def test_cells_that_join_never_writes_are_refused(cell):
    with pytest.raises(ValueError, match="join_members"):
        split_members(cell)


def test_an_empty_name_is_refused():
    with pytest.raises(ValueError, match="position 1"):
        join_members(["a", ""])


def test_short_names_fit_their_columns():
    assert short_name("short", 30) == "short"
    assert short_name("abcdefghij", 5) == "ab…ij"
    assert short_name("名" * 20, 11) == "名名…名名名"[:2] + "…" + "名" * 3
    assert short_name("two\nlines", 30) == r"two\nlines"
