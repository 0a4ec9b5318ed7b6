"""Validates versions in processes that can be ended, before the server opens a session.

    client          in the server: sends requests, and ends what runs when the server stops
    fork_server     forks a process for each version, and ends one that exceeds a limit
    examination     in that process: checks, golden replay, a full batch, and what they took
    cache           in the server: the versions that passed, for the next start

The fork server is forked from the server before it has threads, so that the imports are
done. It ends when no version has to be validated for some time. The next one is a new
process.
"""
