"""Random small networks over all kinds of reading, held against brute force."""
