"""Real clients against the real process: sockets, Node, browser."""
