"""The command line: a thin layer over the public API. Whatever is slow to import is imported inside a command."""
