"""Views over the files of a tree."""
