"""Hold the data folder: metadata, blobs, secrets."""
