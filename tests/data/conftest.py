"""A small DomainNet that tests share, and a copy that a test may damage."""

import shutil

import pytest

from tests.data.make_domainnet import Made, make


@pytest.fixture(scope="session")
def small_domainnet(tmp_path_factory) -> Made:
    return make(tmp_path_factory.mktemp("domainnet"))


@pytest.fixture
def own_domainnet(small_domainnet, tmp_path):
    """The images' root and the lists' folder."""
    shutil.copytree(small_domainnet.data_root, tmp_path / "data")
    shutil.copytree(small_domainnet.lists, tmp_path / "lists")
    return tmp_path / "data" / "domainnet", tmp_path / "lists"
