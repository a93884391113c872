"""What a model is called on: the values that a user gives, and the arguments of forward made of them."""
