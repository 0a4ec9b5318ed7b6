"""Where the results of a command go: records, rows, formats, and files that can be resumed."""
