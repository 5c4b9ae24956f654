"""Many clients that come and go while messages are published: a recorder, and a checker of what it recorded."""
