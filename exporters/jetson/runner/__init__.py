"""The scripts of a build bundle: they run on the Jetson, without medge, on Python 3.6 and later."""
