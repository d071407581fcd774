"""From landmarks, video and other datasets to one Zarr store of hand motion and text; its readers."""

__version__ = "0.1.0"
