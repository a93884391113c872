"""What one unit of a layer uses of every earlier one, in one walk from the unit back to the inputs."""
