"""An ensemble of what a study has trained: its candidates, its selection, and one exported model."""
