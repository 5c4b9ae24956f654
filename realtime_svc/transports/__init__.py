"""What moves bytes: sockets, frames, HTTP."""
