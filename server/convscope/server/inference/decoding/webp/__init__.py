"""Decodes WebP with the libwebp that Pillow contains, in bounded memory."""
