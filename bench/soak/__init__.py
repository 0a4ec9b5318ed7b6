"""Mixed traffic and swaps for half an hour, and reloads after it: does a process grow?

traffic         the calls, and which codes are expected for each kind
publishing      versions that come and go while the server polls
usage           the memory, descriptors and threads of the server and its descendants
"""
