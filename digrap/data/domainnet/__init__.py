"""DomainNet (Peng et al. 2019): lists, datasets, and fetching, checking and shrinking its images."""

from digrap.data.domainnet.dataset import build
from digrap.data.domainnet.facts import ARCHIVES, SITE

__all__ = ["ARCHIVES", "SITE", "build"]
