"""Hold the far end: where images are pulled from and pushed to."""
