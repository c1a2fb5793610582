"""Every damaged file of a run before every reader: one message or, where the reader does not need the file, what it
does on a whole one; and nothing else is touched."""

import json

import pytest

from digrap.report import figures
from digrap.tables import spec
from digrap.tables.spec import Table
from tests.runs import damage
from tests.runs.damage import DAMAGES, DONE, READERS, SHAPES, STOPPED, VARIANTS, make_world, read
from tests.synthetic_runs import CELLS, script
