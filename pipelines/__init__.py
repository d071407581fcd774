"""What runs, in which order: the Kedro pipelines over the four packages."""
