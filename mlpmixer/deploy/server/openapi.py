"""What OpenAPI says of requests: bodies, an example of an answer, the names of models, the key."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI

EXAMPLE = {
    "model": "flowers",
    "milliseconds": 12.5,
    "pictures": [
        {
            "name": "rose.jpg",
            "classes": [{"label": "rose", "index": 2, "probability": 0.97}],
            "error": None,
        }
    ],
}
_IMAGE = {"schema": {"type": "string", "format": "binary"}}


def body(files: int) -> dict[str, Any]:
    """Return a request's body: an image, or a form with up to so many files."""
    several = {
        "type": "array",
        "items": _IMAGE["schema"],
        "minItems": 1,
        "maxItems": files,
    }
    form = {"type": "object", "required": ["files"], "properties": {"files": several}}
    content = {
        "image/*": _IMAGE,
        "application/octet-stream": _IMAGE,
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}


OPEN: dict[str, Any] = {"security": []}
"""Of what is answered without a key."""


def name_of(models: Iterable[str]) -> dict[str, Any]:
    """Return what a model's name in a path may be, as JSON Schema."""
    return {"enum": sorted(models)}


def ask_for_key(app: FastAPI) -> None:
    """Let the description say that requests need `Authorization: Bearer KEY`."""
    described = app.openapi()  # the application keeps it, and answers with it
    described.setdefault("components", {})["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer"}
    }
    described["security"] = [{"key": []}]
