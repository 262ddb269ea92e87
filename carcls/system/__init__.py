"""Files written whole, files of strangers read safely, the home folder and the module path."""
