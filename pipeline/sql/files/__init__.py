"""How the files of a tree become relations: which of them count, and with which columns."""
