"""ms-swift's plug-in, in a folder of its own: ms-swift puts the folder of a plug-in first on Python's path."""
