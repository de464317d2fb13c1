"""What the cells of a study found, without their times."""

import json
from pathlib import Path


def results(study: Path) -> dict[str, object]:
    """Return each finished cell's result by its name."""
    found = {}
    for file in sorted(study.glob("cells/*/result.json")):
        result = json.loads(file.read_text())["result"]
        del result["seconds"]
        found[file.parent.name] = result
    return found
