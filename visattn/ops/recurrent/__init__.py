"""Look, remember, look again."""
