"""Look at chosen coordinates."""
