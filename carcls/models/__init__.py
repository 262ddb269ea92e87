"""A backbone's name -> a keras.Model with whole blocks to freeze."""
