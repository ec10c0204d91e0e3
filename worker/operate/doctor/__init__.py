"""`doctor`: one line a check, with its mend, in the order in which an operator sets the worker up."""
