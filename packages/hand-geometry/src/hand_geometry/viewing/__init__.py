"""Looking at motions in a browser: a page with play, scrub, speed and views, served locally or written to a file.

Nothing is fetched: three.js (MIT, see ``assets/LICENSE-three-MIT.txt``) ships with the package.
"""

from hand_geometry.viewing.page import viewer_page, write_html
from hand_geometry.viewing.server import PageServer, serve

__all__ = ["PageServer", "serve", "viewer_page", "write_html"]
