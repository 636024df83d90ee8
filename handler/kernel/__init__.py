"""What takes the time of a table, in C: rows are read and written, and trees are summed."""
