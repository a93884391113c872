"""Files by what is in them: archives and pickles told apart, saved graphs, and what is no model."""
