"""Tests of tables compose the same few configs again and again."""

import pytest


@pytest.fixture(autouse=True)
def shared_cells(quick):
    """Cells, and what is composed for them, are shared by all tests of this process."""
