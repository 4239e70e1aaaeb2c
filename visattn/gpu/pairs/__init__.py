"""Every position looks at every position."""
