"""Where a dataset's files come from and where they go: `python scripts/download.py dataset=domainnet`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digrap.cli import bare_keys, door, nearest  # noqa: E402
from digrap.data.domainnet import ARCHIVES, SITE  # noqa: E402
from digrap.errors import DigrapError  # noqa: E402


def main() -> None:
    """Print each archive's address, size, checksum and place. Fetching by itself is not part of this version."""
    options = bare_keys(sys.argv[1:], {"dataset": "domainnet", "data_root": "data"})
    if options.dataset != "domainnet":
        raise DigrapError(
            f"dataset={options.dataset}: nothing to fetch for it; {nearest(options.dataset, ['domainnet'])}"
        )
    root = Path(options.data_root) / "domainnet"
    print(f"Fetch these by hand and unpack each into {root} (they hold one folder a domain):")
    for path, size, md5 in ARCHIVES.values():
        print(f"  {SITE}{path}  {size / 1e9:.2f} GB  md5 {md5}")


if __name__ == "__main__":
    raise SystemExit(door(main))
