"""Multiply features by weights."""
