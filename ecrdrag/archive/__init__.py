"""Hold the near end: the tar and its layout."""
