"""Remote flows: flow functions that other processes serve over HTTP."""
