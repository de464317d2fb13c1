"""The page at /: plain files, which may load and reach nothing but this server."""

from pathlib import Path

from fastapi import FastAPI, Response

ASSETS = Path(__file__).with_name("assets")
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI) -> None:
    """Let an application answer with the page at /, and with what it is made of."""
    for file in sorted(ASSETS.iterdir()):
        if file.suffix in _KINDS:
            _add(app, file)


def _add(app: FastAPI, file: Path) -> None:
    content, kind = file.read_bytes(), _KINDS[file.suffix]
    path = "/" if file.name == "index.html" else f"/{file.name}"

    @app.get(path, include_in_schema=False)
    async def asset() -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=_HEADERS)
