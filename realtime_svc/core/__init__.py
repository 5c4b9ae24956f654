"""The core: what the server does, without sockets, frameworks or clocks of its own."""
