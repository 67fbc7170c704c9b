"""Where things are kept that can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$ENAS_CACHE, else $XDG_CACHE_HOME/enas, else ~/.cache/enas."""
    if os.environ.get("ENAS_CACHE"):
        return Path(os.environ["ENAS_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "enas"
