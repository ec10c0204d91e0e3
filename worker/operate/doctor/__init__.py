"""`doctor`: one line a check, with its fix, in the order in which an operator sets the worker up."""
