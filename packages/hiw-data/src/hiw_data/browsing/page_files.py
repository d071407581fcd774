"""The files that the page is made of; those that draw hands in 3D are hand_geometry's."""

from __future__ import annotations

from importlib import resources

_OWN = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/clip.js": ("clip.js", "text/javascript"),
    "/player.js": ("player.js", "text/javascript"),
}
_SHARED = {"/scene.js": "scene.js", "/three.min.js": "three.min.js"}


def page_file(path: str) -> tuple[bytes, str] | None:
    """The content and the content type of the file at a path of an address, such as "/page.js"; None if there is none.

    A path is looked up in a list, and never becomes a name of a file.
    """
    if path in _OWN:
        name, kind = _OWN[path]
        folder = resources.files("hiw_data.browsing").joinpath("page")
    elif path in _SHARED:
        name, kind = _SHARED[path], "text/javascript"
        folder = resources.files("hand_geometry.viewing").joinpath("assets")
    else:
        return None
    return folder.joinpath(name).read_bytes(), f"{kind}; charset=utf-8"
