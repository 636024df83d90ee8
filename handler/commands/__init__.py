"""The commands of the command line, each with its flags beside it."""
