"""Looking at a store in a browser."""
