"""`commonwatt quarantine`: messages that could not be read. List, explain, replay after a fix."""
