"""A new bundle in a running fleet: pulled from above, proved, served beside the old one, and put in its place."""
