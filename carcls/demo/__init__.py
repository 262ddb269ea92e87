"""The built-in sample data: procedurally drawn cars. `drawing` tells the story of one photo."""
