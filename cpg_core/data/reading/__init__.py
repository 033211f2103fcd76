"""Images from their files: found, fetched ahead, decoded, resized, kept in blocks."""
