"""How a study's record is stored: a journal in its folder, or a database."""
