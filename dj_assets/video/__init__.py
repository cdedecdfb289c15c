"""The rooms between video files and operators: safe open, probe, decode. The only room that imports av."""
