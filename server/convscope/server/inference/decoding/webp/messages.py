"""The messages between the server and a process that decodes WebP."""

import struct

__all__ = ["JOB", "MAX_CPU_SECONDS", "REPLY"]

# The bytes of the encoded image, the memory that libwebp may take, the numbers of the layout.
JOB = struct.Struct("<6Q")
REPLY = struct.Struct("<B")  # the status code
MAX_CPU_SECONDS = 2
