"""Files that people write -> documents that know the line of each of their values, whatever they are about."""
