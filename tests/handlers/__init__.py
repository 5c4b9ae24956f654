"""Tests of user code in the process."""
