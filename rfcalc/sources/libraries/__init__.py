"""Models of libraries, by the name that the library has for them."""
