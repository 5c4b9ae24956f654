"""Keepers of credentials, behind one seam, and the rules of who may do what."""
