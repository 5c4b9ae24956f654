"""The bytes on the wire: request heads, proxy headers, protocols."""
