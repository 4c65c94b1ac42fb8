"""Hold the command line: arguments, clients, progress, exit codes."""
