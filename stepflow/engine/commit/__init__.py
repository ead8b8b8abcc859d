"""All writes of an engine flow through here: what is ready together commits together."""
