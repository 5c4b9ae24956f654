"""Payload schemas: loading, verdicts, explanations."""
