"""What the other operators are made of."""
