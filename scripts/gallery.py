"""Draw a contact sheet of the miniature: --help, or digrap/cli/gallery.py."""

import _package  # noqa: F401

from digrap.cli import gallery
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(gallery.main, gallery.__doc__))
