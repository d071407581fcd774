"""A service over one model: requests are batched, motions can be watched, changed, chained and downloaded.

Needs the extra ``clutch-llm[serve]`` (FastAPI and uvicorn). `create_app` makes the ASGI application, `serve` runs it.
"""

from clutch_llm.serving.settings import ServeConfig

__all__ = ["ServeConfig", "create_app", "serve"]


def __getattr__(name: str) -> object:
    if name == "create_app":
        from clutch_llm.serving.app import create_app

        return create_app
    if name == "serve":
        from clutch_llm.serving.running import serve

        return serve
    raise AttributeError(f"module 'clutch_llm.serving' has no attribute {name!r}")
