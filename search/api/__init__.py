"""The Python interface: what `import search` offers, used by the commands as well.

experiments.py  experiments from files, dictionaries or photos
domains.py      what may stand in place of a value
event_stream.py a search as an iterator of events
trackers.py     callbacks for MLflow and W&B
steps.py        the steps of a study: search, final training
study.py        Study: run, look at, retrain, submit
data_frames.py  trials and curves as pandas frames
figures.py      plots as matplotlib figures
notebook.py     a study as HTML for notebooks
prediction.py   probabilities for files and arrays
"""
