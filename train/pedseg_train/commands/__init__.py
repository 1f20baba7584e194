"""The console commands of training; each module has one, over a library function."""
