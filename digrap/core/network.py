"""Whether a server can be reached, asked before something that would wait for it."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

SECONDS = 5.0


def answers(address: str, seconds: float = SECONDS) -> bool:
    """Whether the server at an http(s) address answers within `seconds`, with whatever status."""
    try:
        urllib.request.urlopen(address, timeout=seconds).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return True
