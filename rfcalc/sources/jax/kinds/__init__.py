"""What JAX's libraries call a model, each as a `Function`: one file for each library."""
