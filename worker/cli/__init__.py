"""The command line: each command is a module. `main.py` is read first, and reads the rest where Ctrl-C may come."""
