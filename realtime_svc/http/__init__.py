"""HTTP resources of the public and of the internal port."""
