"""Room 1: the core, without sockets."""
