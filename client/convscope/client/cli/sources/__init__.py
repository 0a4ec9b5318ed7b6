"""Where the images of a command come from: files, folders, patterns, lists, URLs, input."""
