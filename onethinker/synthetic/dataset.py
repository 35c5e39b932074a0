"""Synthetic samples as files."""
