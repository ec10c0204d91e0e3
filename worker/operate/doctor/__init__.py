"""`doctor`: one line a check, with its mend, in the order in which a person sets the worker up."""
