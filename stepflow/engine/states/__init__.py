"""Commands on States and flow functions: scripts, commits, leases, reads and watches."""
