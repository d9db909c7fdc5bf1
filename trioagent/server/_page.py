"""The page: modules and one style sheet from this package, and a policy that lets nothing else run.

The policy names by hash what may run: the page's modules and its style sheet. The page may connect to this server, and
may not load, embed or send anything elsewhere; ``trusted-types 'none'`` makes browsers refuse to turn text into markup
or code.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ._context import ServerContext

_ASSETS = "/assets/"
_LIBRARIES = {
    "uplot": "vendor/uplot.js",
    "d3-force": "vendor/d3-force.js",
    "d3-quadtree": "vendor/d3-quadtree.js",
    "d3-dispatch": "vendor/d3-dispatch.js",
    "d3-timer": "vendor/d3-timer.js",
}
_STYLES = ("vendor/uplot.css", "style.css")
_PLACE = re.compile(r"\{\{ (\w+) \}\}")
_HEADERS = {"cache-control": "no-cache"}


@attrs.frozen
class PageFiles:
    """The files of the page.

    Attributes:
        html: the document.
        policy: its Content-Security-Policy.
        scripts: the modules, by their path below ``/assets/``.
    """

    html: bytes
    policy: str
    scripts: Mapping[str, bytes]


@cache
def page_files() -> PageFiles:
    """The page of this package. Reads its files on the first call."""
    folder = files(__package__) / "page"
    scripts = {path: (folder / path).read_bytes() for path in _modules(folder)}
    hashes = {path: _hash(data) for path, data in scripts.items()}
    imports = {
        "imports": {name: f"{_ASSETS}{path}" for name, path in _LIBRARIES.items()},
        "integrity": {f"{_ASSETS}{path}": value for path, value in hashes.items()},
    }
    texts = {
        "imports": json.dumps(imports),
        "style": "\n".join((folder / path).read_text(encoding="utf-8") for path in _STYLES),
        "preloads": "\n".join(
            f'<link rel="modulepreload" href="{_ASSETS}{path}" integrity="{value}">' for path, value in hashes.items()
        ),
        "app": f'<script type="module" src="{_ASSETS}app.js" integrity="{hashes["app.js"]}"></script>',
    }
    template = (folder / "index.html").read_text(encoding="utf-8")
    html = _PLACE.sub(lambda match: texts[match[1]], template)
    allowed = [_hash(texts["imports"].encode()), *hashes.values()]
    return PageFiles(html.encode(), _policy(allowed, _hash(texts["style"].encode())), scripts)


def _modules(folder: Traversable) -> list[str]:
    own = [entry.name for entry in folder.iterdir() if entry.name.endswith(".js")]
    return sorted([*own, *_LIBRARIES.values()])


def _hash(data: bytes) -> str:
    return f"sha256-{b64encode(sha256(data).digest()).decode()}"


def _policy(scripts: list[str], style: str) -> str:
    return (
        f"default-src 'none'; script-src {' '.join(repr(each) for each in scripts)}; style-src {style!r}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def routes(context: ServerContext) -> list[BaseRoute]:
    """The routes of the page, which need no token: the page holds no secret."""

    async def page(request: Request) -> Response:
        found = page_files()
        headers = {"content-security-policy": found.policy, **_HEADERS}
        return Response(found.html, headers=headers, media_type="text/html")

    async def asset(request: Request) -> Response:
        data = page_files().scripts.get(request.path_params["path"])
        if data is None:
            raise HTTPException(404, f"not found: {request.path_params['path']!r:.100}")
        return Response(data, headers=_HEADERS, media_type="text/javascript")

    return [Route("/", page), Route(f"{_ASSETS}{{path:path}}", asset)]
