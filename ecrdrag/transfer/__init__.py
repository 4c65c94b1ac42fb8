"""Hold the engines that move bytes; they know protocols only."""
