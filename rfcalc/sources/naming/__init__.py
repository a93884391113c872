"""What stands in the text that names a model: arguments and open sizes."""
