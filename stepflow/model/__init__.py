"""What a run is made of: States, transitions, statuses, policies, codecs and the Flow protocol. Pure."""
