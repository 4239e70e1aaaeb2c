"""What goes wrong in each operator, at the operator's own path: its known mistakes, the conventions of libraries that
differ, other right ways to write a line, and the cases that tell them apart."""
