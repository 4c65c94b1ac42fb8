"""Hold HTTP: connections, exchanges, how bytes go out; nothing about registries."""
