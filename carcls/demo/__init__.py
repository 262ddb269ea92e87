"""The built-in sample data: procedurally drawn cars. Start reading at `drawing`, which draws one photo."""
