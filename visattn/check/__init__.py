"""Is an implementation right?  `definitions` says what each operator computes, index by index."""
